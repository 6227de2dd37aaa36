"""What infra/template.yaml makes, made in an emulator of AWS: tables, queues with their dead letters, bucket, secret."""
import json
import secrets
import urllib.error
import urllib.request

STACK = "noetl-dev"
KINDS = "http python postgres duckdb sqlite transfer s3 nats lambda secrets rhai script shell file noop".split()
# As limits.rs has them: what a handler and a worker have for a batch, and how often a message is tried.
EVENTS_S, COMMANDS_S, RECEIVES = 60, 900, 10
# Everything that a queue, a time or a request triggers.
FUNCTIONS = ["api", "event-handler", "sweeper", "dead-letter", *(f"worker-{kind}" for kind in KINDS)]


class Failed(Exception):
    """What happened, and what to do about it."""


class Aws:
    """The few calls that make a stack; the emulator reads no signature."""

    def __init__(self, endpoint):
        self.endpoint = endpoint

    def send(self, service, path, method="POST", headers=None, body=b""):
        scope = f"Credential=test/20260101/us-east-1/{service}/aws4_request"
        headers = {"authorization": f"AWS4-HMAC-SHA256 {scope}, SignedHeaders=host, Signature=0", **(headers or {})}
        request = urllib.request.Request(self.endpoint + path, data=body or None, method=method, headers=headers)
        try:
            with urllib.request.urlopen(request, timeout=20) as answer:
                return answer.read()
        except urllib.error.HTTPError as error:
            raise Failed(f"{service} {path} {headers.get('x-amz-target', method)}: {error} {error.read()[:500]}") from error

    def call(self, service, target, version, **body):
        headers = {"content-type": f"application/x-amz-json-{version}", "x-amz-target": target}
        return json.loads(self.send(service, "/", headers=headers, body=json.dumps(body).encode()) or b"{}")

    def table(self, name, **keys):
        self.call("dynamodb", "DynamoDB_20120810.CreateTable", "1.0", TableName=name, BillingMode="PAY_PER_REQUEST",
                  AttributeDefinitions=[{"AttributeName": key, "AttributeType": kind} for key, kind in keys.items()],
                  KeySchema=[{"AttributeName": key, "KeyType": role} for key, role in zip(keys, ("HASH", "RANGE"))])

    def queue(self, name, visibility_s, dead=None):
        """A queue and, if `dead` names one, the queue of its dead letters; their URLs."""
        attributes = {"VisibilityTimeout": str(visibility_s)}
        if name.endswith(".fifo"):
            attributes |= {"FifoQueue": "true", "DeduplicationScope": "messageGroup",
                           "FifoThroughputLimit": "perMessageGroupId"}
        urls = []
        if dead:
            urls = self.queue(dead, visibility_s)
            asked = self.call("sqs", "AmazonSQS.GetQueueAttributes", "1.0", QueueUrl=urls[0], AttributeNames=["QueueArn"])
            attributes["RedrivePolicy"] = json.dumps(
                {"deadLetterTargetArn": asked["Attributes"]["QueueArn"], "maxReceiveCount": RECEIVES})
        made = self.call("sqs", "AmazonSQS.CreateQueue", "1.0", QueueName=name, Attributes=attributes)
        return [made["QueueUrl"], *urls]


def make_tables(aws):
    aws.table(f"{STACK}-state", pk="S", sk="N")
    aws.table(f"{STACK}-catalog", pk="S", sk="N")
    aws.table(f"{STACK}-credentials", pk="S")


def make(endpoint, found, concurrency, given_s=None):
    """Makes a stack; the environment of the functions, and the `--map` and `--every` of `esm` for those in `found`.

    `given_s`, if there is one, is the visibility timeout of every queue.
    """
    aws = Aws(endpoint)
    make_tables(aws)
    aws.send("s3", f"/{STACK}-payloads", "PUT")
    secret = f"{STACK}-master-key"
    aws.call("secretsmanager", "secretsmanager.CreateSecret", "1.1", Name=secret, SecretString=secrets.token_hex(32),
             ClientRequestToken=secrets.token_hex(16))
    queues = {f"commands-{kind}": (f"worker-{kind}", COMMANDS_S, "") for kind in KINDS}
    queues |= {"events": ("event-handler", EVENTS_S, ".fifo"), "start": ("event-handler", EVENTS_S, "")}
    urls, arguments = {}, []
    for name, (function, visibility_s, end) in queues.items():
        url, dead = aws.queue(f"{STACK}-{name}{end}", given_s or visibility_s, f"{STACK}-{name}-dead{end}")
        urls[name] = url
        for url, function, out in ((url, function, concurrency), (dead, "dead-letter", 1)):
            if function in found:
                arguments += ["--map", f"{url}={function}:10:{out}"]
    if "sweeper" in found:
        arguments += ["--every", "60s:sweeper"]
    return {
        "AWS_ENDPOINT_URL": aws.endpoint, "AWS_REGION": "us-east-1", "AWS_ACCESS_KEY_ID": "test",
        "AWS_SECRET_ACCESS_KEY": "test", "NOETL_STATE": "dynamodb", "NOETL_STATE_TABLE": f"{STACK}-state",
        "NOETL_CATALOG_TABLE": f"{STACK}-catalog", "NOETL_CREDENTIALS_TABLE": f"{STACK}-credentials",
        "NOETL_PAYLOADS_BUCKET": f"{STACK}-payloads", "NOETL_EVENTS_QUEUE_URL": urls["events"],
        "NOETL_COMMANDS_QUEUE_URL_PREFIX": urls["commands-noop"].removesuffix("noop"),
        "NOETL_MASTER_KEY_SECRET": secret, "NOETL_METRICS_NAMESPACE": "noetl-lambda",
        # The services that playbooks call are on this machine too.
        "NOETL_ALLOW_PRIVATE": "1",
    }, arguments
