"""What must hold for the translated template. Each check returns a sentence per offence that names the resource."""
import json
import re

from template import listed, may, of_type, policies, target, text

FUNCTION = "AWS::Lambda::Function"
MAPPING = "AWS::Lambda::EventSourceMapping"
QUEUE = "AWS::SQS::Queue"
# What a function in a VPC needs; EC2 knows no narrower resource for it.
MANAGED = ("policy/service-role/AWSLambdaENIManagementAccess",)


def recursion(template):
    """Lambda ends a chain of calls near its sixteenth hop, unless every function of it says otherwise."""
    mapped = {target(mapping["FunctionName"]) for mapping in of_type(template, MAPPING).values()}
    functions = of_type(template, FUNCTION)
    return [
        f"`{name}` has no `RecursiveLoop: Allow`: executions that pass through it end near their sixteenth hop"
        for name in sorted(mapped | may(template, "sqs:SendMessage"))
        if functions[name].get("RecursiveLoop") != "Allow"
    ]


def least_privilege(template):
    """No action and no resource is a wildcard; a role belongs to one function."""
    keys = of_type(template, "AWS::KMS::Key")
    found = []
    for name, statement in policies(template):
        allows = statement["Effect"] == "Allow"
        found += [f"`{name}` uses `{key}`: name what is allowed" for key in ("NotAction", "NotResource", "NotPrincipal") if key in statement]
        found += [f"`{name}` names the action `{action}`: name each action" for action in listed(statement.get("Action", [])) if "*" in action]
        if allows and statement.get("Principal") in ("*", {"AWS": "*"}):
            found.append(f"`{name}` allows everybody: name the principal")
        # In its own policy a key has no other name for itself.
        if allows and name not in keys:
            found += [f"`{name}` names the resource `{text(resource)}`: name it exactly" for resource in listed(statement["Resource"]) if not exact(resource)]
    roles = [target(function["Role"]) for function in of_type(template, FUNCTION).values()]
    found += [f"`{role}` is the role of several functions: give each its own" for role in sorted({role for role in roles if roles.count(role) > 1})]
    for name, role in of_type(template, "AWS::IAM::Role").items():
        arns = re.findall(r"iam::aws:([^\"]+)", json.dumps(role.get("ManagedPolicyArns", [])))
        found += [f"`{name}` has the managed policy `{arn}`: write out what it needs" for arn in arns if arn not in MANAGED]
    return found


def exact(resource):
    """Whether a policy names one resource: a reference, a full ARN, or the objects below one prefix of a bucket."""
    if target(resource):
        return True
    named = text(resource) or ""
    return re.fullmatch(r"(\$\{\w+\.Arn\}/[a-z-]+/\*|(\$\{|arn:)[^*]+)", named) is not None


def dead_letter_queues(template):
    """Every queue hands what fails to another one of its own sort, which is somebody's work."""
    queues = of_type(template, QUEUE)
    dead = {name: target((queue.get("RedrivePolicy") or {}).get("deadLetterTargetArn")) for name, queue in queues.items()}
    sources = {target(mapping["EventSourceArn"]) for mapping in of_type(template, MAPPING).values()}
    found = []
    for name, queue in queues.items():
        if name in dead.values():
            if name not in sources:
                found.append(f"`{name}` has no event source mapping: nobody deals with its messages")
            continue
        if dead[name] not in queues:
            found.append(f"`{name}` has no dead-letter queue: a message that fails is tried until it is gone")
            continue
        if queue["RedrivePolicy"].get("maxReceiveCount", 0) < 5:
            found.append(f"`{name}` gives up after fewer than five tries: throttling alone takes as many")
        if queue.get("FifoQueue") != queues[dead[name]].get("FifoQueue"):
            found.append(f"`{name}` and `{dead[name]}` are not both FIFO: SQS refuses the pair")
        if name not in sources:
            found.append(f"`{name}` has no event source mapping: nobody reads it")
    return found


def authorised(template):
    """Every way in asks who it is."""
    found = []
    for name, api in of_type(template, "AWS::ApiGatewayV2::Api").items():
        for path, methods in (api.get("Body") or {}).get("paths", {}).items():
            for method, route in methods.items():
                if not any(route.get("security") or []) or {"NONE": []} in route["security"]:
                    found.append(f"the route `{path}` ({method}) of `{name}` has no authoriser: anybody may call it")
    for name, route in of_type(template, "AWS::ApiGatewayV2::Route").items():
        if route.get("AuthorizationType", "NONE") == "NONE":
            found.append(f"the route `{name}` has no authoriser: anybody may call it")
    for name, url in of_type(template, "AWS::Lambda::Url").items():
        if url["AuthType"] == "NONE":
            found.append(f"the function URL `{name}` has no authoriser: anybody may call it")
    return found


def visibility(template):
    """A message must not come back while it is being worked on."""
    functions, queues = of_type(template, FUNCTION), of_type(template, QUEUE)
    found = []
    for mapping in of_type(template, MAPPING).values():
        queue, function = target(mapping["EventSourceArn"]), target(mapping["FunctionName"])
        hidden, timeout = queues[queue].get("VisibilityTimeout", 30), functions[function].get("Timeout", 3)
        if hidden < timeout:
            found.append(f"`{queue}` hides messages for {hidden} s, and `{function}` may take {timeout} s: Lambda refuses the mapping")
    return found


def order(template):
    """Events of one execution come in order; commands can be held back, which a FIFO queue cannot."""
    found = []
    wanted = {"FifoQueue": True, "DeduplicationScope": "messageGroup", "FifoThroughputLimit": "perMessageGroupId"}
    for name, queue in of_type(template, QUEUE).items():
        if name.startswith("Events"):
            found += [f"`{name}` must have `{key}: {value}`: events of one execution come in order, and executions do not wait for each other"
                      for key, value in wanted.items() if queue.get(key) != value]
            if queue.get("ContentBasedDeduplication"):
                found.append(f"`{name}` drops messages with the same content: a deliberate repeat would be lost")
            if not (text(queue.get("QueueName")) or "").endswith(".fifo"):
                found.append(f"`{name}` is FIFO: its name must end in `.fifo`")
        elif queue.get("FifoQueue"):
            found.append(f"`{name}` is FIFO: a FIFO queue cannot hold back a single command, which timers need")
    return found


def mappings(template):
    """A failed message does not take its batch along, and no queue takes all of the account's concurrency."""
    found = []
    for name, mapping in of_type(template, MAPPING).items():
        if mapping.get("FunctionResponseTypes") != ["ReportBatchItemFailures"]:
            found.append(f"`{name}` has no `ReportBatchItemFailures`: one failed message repeats its whole batch")
        if not 1 <= mapping.get("BatchSize", 10) <= 10:
            found.append(f"`{name}` has a `BatchSize` that is not within 1 and 10: more needs a window, and a window delays")
        if mapping.get("MaximumBatchingWindowInSeconds"):
            found.append(f"`{name}` has a batching window: with little traffic Lambda waits up to 20 s")
        if "MaximumConcurrency" not in mapping.get("ScalingConfig", {}):
            found.append(f"`{name}` has no `MaximumConcurrency`: a full queue takes every function of the account")
    return found


def at_rest(template):
    """What is kept survives the stack, is encrypted with its key, and can be brought back."""
    found = []
    for name, table in of_type(template, "AWS::DynamoDB::Table").items():
        if not table.get("PointInTimeRecoverySpecification", {}).get("PointInTimeRecoveryEnabled"):
            found.append(f"`{name}` has no point-in-time recovery")
        if target(table.get("SSESpecification", {}).get("KMSMasterKeyId")) != "Key":
            found.append(f"`{name}` is not encrypted with the stack's key")
        if table.get("BillingMode") != "PAY_PER_REQUEST":
            found.append(f"`{name}` has provisioned capacity: it costs while nothing runs")
    for name, bucket in of_type(template, "AWS::S3::Bucket").items():
        if not all(bucket.get("PublicAccessBlockConfiguration", {}).get(key) for key in ("BlockPublicAcls", "BlockPublicPolicy", "IgnorePublicAcls", "RestrictPublicBuckets")):
            found.append(f"`{name}` does not block all public access")
        if '"Key"' not in json.dumps(bucket.get("BucketEncryption", {})):
            found.append(f"`{name}` is not encrypted with the stack's key")
        plain = [statement for _, statement in policies(template) if statement.get("Condition") == {"Bool": {"aws:SecureTransport": "false"}}]
        if not any(target(resource) == name for statement in plain for resource in listed(statement["Resource"])):
            found.append(f"`{name}` has no policy that refuses requests without TLS")
    for name, queue in of_type(template, QUEUE).items():
        if not queue.get("SqsManagedSseEnabled") and "KmsMasterKeyId" not in queue:
            found.append(f"`{name}` is not encrypted")
    for name, group in of_type(template, "AWS::Logs::LogGroup").items():
        if "RetentionInDays" not in group or target(group.get("KmsKeyId")) != "Key":
            found.append(f"`{name}` is kept for ever, or not encrypted with the stack's key")
    kept = ("AWS::DynamoDB::Table", "AWS::S3::Bucket", "AWS::KMS::Key", "AWS::SecretsManager::Secret")
    found += [f"`{name}` is deleted with the stack: it needs `DeletionPolicy: Retain` and `UpdateReplacePolicy: Retain`"
              for name, resource in template["Resources"].items() if resource["Type"] in kept
              and (resource.get("DeletionPolicy"), resource.get("UpdateReplacePolicy")) != ("Retain", "Retain")]
    return found


def watched(template):
    """Alarms look at every queue and every function."""
    alarms = {(alarm["MetricName"], text(dimension["Value"]))
              for alarm in of_type(template, "AWS::CloudWatch::Alarm").values() for dimension in alarm["Dimensions"]}
    found = []
    queues = of_type(template, QUEUE)
    dead = {target((queue.get("RedrivePolicy") or {}).get("deadLetterTargetArn")) for queue in queues.values()}
    for name, queue in queues.items():
        metric = "ApproximateNumberOfMessagesVisible" if name in dead else "ApproximateAgeOfOldestMessage"
        if (metric, text(queue["QueueName"])) not in alarms:
            found.append(f"`{name}` has no alarm on `{metric}`")
    for name, function in of_type(template, FUNCTION).items():
        found += [f"`{name}` has no alarm on `{metric}`" for metric in ("Errors", "Throttles") if (metric, text(function["FunctionName"])) not in alarms]
    for name, function in of_type(template, FUNCTION).items():
        groups = of_type(template, "AWS::Logs::LogGroup")
        if target(function.get("LoggingConfig", {}).get("LogGroup")) not in groups:
            found.append(f"`{name}` has no log group of its own: its log would be kept for ever")
    return found


def variables(template):
    """The engine's variables that the template sets."""
    functions = of_type(template, FUNCTION).values()
    names = {name for function in functions for name in function.get("Environment", {}).get("Variables", {})}
    return {name for name in names if name.startswith("NOETL_")}


def metrics(template):
    """The engine's own metrics that the dashboard shows."""
    found = set()
    for dashboard in of_type(template, "AWS::CloudWatch::Dashboard").values():
        body = json.loads(text(dashboard["DashboardBody"]))
        rows = [row for widget in body["widgets"] for row in widget["properties"]["metrics"]]
        found |= {row[1] for row in rows if row[0] == "${MetricsNamespace}"}
    return found


ALL = [recursion, least_privilege, dead_letter_queues, authorised, visibility, order, mappings, at_rest, watched]
