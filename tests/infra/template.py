"""The template as it is written, as CloudFormation gets it, and what the checks look up in it."""
import logging
import os
import pathlib

# The translator asks for a region, and for nothing else of AWS.
os.environ.setdefault("AWS_DEFAULT_REGION", "us-east-1")

from samtranslator.translator.transform import transform
from samtranslator.yaml_helper import yaml_parse

# It counts its own calls, and complains when nobody collects the figures.
logging.getLogger("samtranslator.metrics").setLevel(logging.ERROR)

ROOT = pathlib.Path(__file__).resolve().parents[2]
SOURCE = ROOT / "infra" / "template.yaml"


class NoManagedPolicies:
    """The translator's source of managed policies by name: the template names none."""

    def load(self):
        """A map from name to ARN."""
        return {}


def written():
    """The template with its SAM resources, as a dict."""
    return yaml_parse(SOURCE.read_text())


def translated(template):
    """What SAM makes of a template: CloudFormation's own resources. The argument stays as it is."""
    copy = yaml_parse_again(template)
    for resource in copy["Resources"].values():
        for key in ("CodeUri", "ContentUri"):
            if key in resource.get("Properties", {}):
                resource["Properties"][key] = "s3://artifacts/code.zip"
    return transform(copy, {}, NoManagedPolicies())


def yaml_parse_again(value):
    """A deep copy in plain dicts and lists, for the translator changes what it gets."""
    if isinstance(value, dict):
        return {key: yaml_parse_again(inner) for key, inner in value.items()}
    if isinstance(value, list):
        return [yaml_parse_again(inner) for inner in value]
    return value


def of_type(template, kind):
    """Logical id and properties of the resources of one type."""
    return {
        name: resource.get("Properties", {})
        for name, resource in template["Resources"].items()
        if resource["Type"] == kind
    }


def listed(value):
    """A value of a policy as a list, for one may stand alone."""
    return value if isinstance(value, list) else [value]


def target(value):
    """The logical id that a `Ref` or a `Fn::GetAtt` names; None for anything else."""
    if not isinstance(value, dict):
        return None
    if "Ref" in value:
        return value["Ref"]
    attribute = value.get("Fn::GetAtt")
    return attribute.split(".")[0] if isinstance(attribute, str) else (attribute or [None])[0]


def text(value):
    """A text as it is written, `Fn::Sub` or not; None for anything else."""
    if isinstance(value, dict):
        value = value.get("Fn::Sub")
        value = value[0] if isinstance(value, list) else value
    return value if isinstance(value, str) else None


def policies(template):
    """Every policy of the template: the id of its resource, and one statement."""
    found = []
    for name, role in of_type(template, "AWS::IAM::Role").items():
        documents = [policy["PolicyDocument"] for policy in role.get("Policies", [])]
        found += [(name, statement) for document in documents for statement in document["Statement"]]
    documents = {"AWS::KMS::Key": "KeyPolicy", "AWS::S3::BucketPolicy": "PolicyDocument",
                 "AWS::SQS::QueuePolicy": "PolicyDocument", "AWS::SNS::TopicPolicy": "PolicyDocument",
                 "AWS::IAM::Policy": "PolicyDocument", "AWS::IAM::ManagedPolicy": "PolicyDocument"}
    for kind, key in documents.items():
        for name, properties in of_type(template, kind).items():
            found += [(name, statement) for statement in properties[key]["Statement"]]
    return found


def may(template, action):
    """Functions whose role allows an action."""
    roles = {
        name for name, statement in policies(template)
        if statement["Effect"] == "Allow" and action in listed(statement.get("Action", []))
    }
    functions = of_type(template, "AWS::Lambda::Function")
    return {name for name, function in functions.items() if target(function["Role"]) in roles}
