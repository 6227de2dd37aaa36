"""The template holds what it must, and each check notices when it does not."""
import json
import pathlib
import subprocess
import sys
import tempfile
import unittest

import checks
from template import ROOT, SOURCE, translated, written, yaml_parse_again

TOOLS = pathlib.Path(sys.executable).parent
TEMPLATE = translated(written())


def run(*command):
    """A command of this environment: its exit code and all that it says."""
    done = subprocess.run([TOOLS / command[0], *command[1:]], cwd=ROOT, capture_output=True, text=True, timeout=300)
    return done.returncode, done.stdout + done.stderr


def lint(template):
    """What cfn-lint says of a translated template; nothing if it is clean."""
    with tempfile.NamedTemporaryFile("w", suffix=".json") as file:
        json.dump(template, file)
        file.flush()
        return run("cfn-lint", "--format", "parseable", "--", file.name)[1]


class TheTemplate(unittest.TestCase):
    """The template as it is."""

    def test_it_is_what_its_source_says(self):
        done = subprocess.run([sys.executable, ROOT / "infra" / "generate", "--check"], capture_output=True, text=True, timeout=60)
        self.assertEqual(done.returncode, 0, done.stderr)

    def test_sam_finds_nothing(self):
        code, said = run("sam", "validate", "--lint", "--template", SOURCE)
        self.assertEqual(code, 0, said)

    def test_the_linter_finds_nothing_in_what_sam_makes_of_it(self):
        self.assertEqual(lint(TEMPLATE), "")

    def test_every_check_passes(self):
        for check in checks.ALL:
            with self.subTest(check.__name__):
                self.assertEqual(check(TEMPLATE), [])

    def test_there_is_a_worker_for_every_kind_of_the_parameter(self):
        kinds = TEMPLATE["Parameters"]["Workers"]["Default"].split(",")
        names = {f"${{AWS::StackName}}-worker-{kind}" for kind in kinds}
        functions = checks.of_type(TEMPLATE, checks.FUNCTION).values()
        self.assertEqual({checks.text(f["FunctionName"]) for f in functions if "-worker-" in checks.text(f["FunctionName"])}, names)

    def test_python_runs_on_the_managed_runtime_under_our_binary(self):
        python = TEMPLATE["Resources"]["WorkerPython"]["Properties"]
        self.assertEqual(python["Runtime"], "python3.13")
        self.assertEqual(python["Environment"]["Variables"]["AWS_LAMBDA_EXEC_WRAPPER"], "/var/task/bootstrap")


class Mutants(unittest.TestCase):
    """A template with one mistake is noticed, in a sentence that names the resource."""

    def caught(self, check, name, change, said):
        """Asserts that `check` tells of `name` after `change` was made to the resource's properties."""
        mutant = yaml_parse_again(TEMPLATE)
        change(mutant["Resources"][name]["Properties"])
        sentences = [sentence for sentence in check(mutant) if f"`{name}`" in sentence and said in sentence]
        self.assertTrue(sentences, f"{check.__name__} says nothing of `{name}`: {check(mutant)}")

    def test_a_function_of_the_cycle_without_the_flag(self):
        for name in ("EventHandler", "WorkerHttp", "WorkerNoop", "Sweeper", "DeadLetter", "Api"):
            with self.subTest(name):
                self.caught(checks.recursion, name, lambda it: it.pop("RecursiveLoop"), "sixteenth hop")
                self.caught(checks.recursion, name, lambda it: it.update(RecursiveLoop="Terminate"), "sixteenth hop")

    def test_a_wildcard_in_a_policy(self):
        def statement(role):
            return role["Policies"][0]["PolicyDocument"]["Statement"][-1]

        bad = [
            (lambda it: statement(it).update(Action="s3:*"), "the action `s3:*`"),
            (lambda it: statement(it).update(Action=["s3:GetObject", "s3:List*"]), "the action `s3:List*`"),
            (lambda it: statement(it).update(Resource="*"), "the resource `*`"),
            (lambda it: statement(it).update(Resource="arn:aws:s3:::*/payloads/*"), "name it exactly"),
            (lambda it: statement(it).update(Resource={"Fn::Sub": "${Bucket.Arn}/*"}), "name it exactly"),
            (lambda it: statement(it).update(NotAction="s3:GetObject"), "`NotAction`"),
            (lambda it: it.update(ManagedPolicyArns=["arn:aws:iam::aws:policy/AdministratorAccess"]), "AdministratorAccess"),
        ]
        for change, said in bad:
            with self.subTest(said):
                self.caught(checks.least_privilege, "WorkerHttpRole", change, said)

    def test_a_wildcard_in_the_policy_of_the_key_or_the_bucket(self):
        self.caught(checks.least_privilege, "Key", lambda it: it["KeyPolicy"]["Statement"][0].update(Action="kms:*"), "kms:*")
        allow = {"Effect": "Allow"}
        self.caught(checks.least_privilege, "BucketTlsOnly", lambda it: it["PolicyDocument"]["Statement"][0].update(allow), "everybody")

    def test_a_role_of_two_functions(self):
        mutant = yaml_parse_again(TEMPLATE)
        mutant["Resources"]["Api"]["Properties"]["Role"] = {"Fn::GetAtt": ["SweeperRole", "Arn"]}
        self.assertIn("`SweeperRole` is the role of several functions: give each its own", checks.least_privilege(mutant))

    def test_a_queue_without_its_dead_letters(self):
        self.caught(checks.dead_letter_queues, "CommandsHttpQueue", lambda it: it.pop("RedrivePolicy"), "no dead-letter queue")
        gone = {"deadLetterTargetArn": {"Fn::GetAtt": ["Gone", "Arn"]}, "maxReceiveCount": 10}
        self.caught(checks.dead_letter_queues, "EventsQueue", lambda it: it.update(RedrivePolicy=gone), "no dead-letter queue")
        self.caught(checks.dead_letter_queues, "StartQueue", lambda it: it["RedrivePolicy"].update(maxReceiveCount=2), "fewer than five")
        self.caught(checks.dead_letter_queues, "EventsQueue", lambda it: it.pop("FifoQueue"), "not both FIFO")

    def test_dead_letters_that_nobody_reads(self):
        mutant = yaml_parse_again(TEMPLATE)
        del mutant["Resources"]["DeadLetterCommandsHttp"]
        self.assertEqual(checks.dead_letter_queues(mutant), ["`CommandsHttpDeadQueue` has no event source mapping: nobody deals with its messages"])

    def test_a_route_without_an_authoriser(self):
        def open_up(api):
            for methods in api["Body"]["paths"].values():
                for route in methods.values():
                    route.pop("security")

        self.caught(checks.authorised, "HttpApi", open_up, "no authoriser")
        mutant = yaml_parse_again(TEMPLATE)
        mutant["Resources"]["Open"] = {"Type": "AWS::ApiGatewayV2::Route", "Properties": {"RouteKey": "GET /open"}}
        mutant["Resources"]["Url"] = {"Type": "AWS::Lambda::Url", "Properties": {"AuthType": "NONE"}}
        self.assertEqual(len(checks.authorised(mutant)), 2)

    def test_a_route_that_the_template_itself_opens(self):
        mutant = written()
        mutant["Resources"]["Api"]["Properties"]["Events"]["Any"]["Properties"]["Auth"] = {"Authorizer": "NONE"}
        self.assertTrue(checks.authorised(translated(mutant)))

    def test_a_message_that_comes_back_too_early(self):
        self.caught(checks.visibility, "CommandsPythonQueue", lambda it: it.update(VisibilityTimeout=30), "may take 900 s")
        self.caught(checks.visibility, "EventHandler", lambda it: it.update(Timeout=61), "may take 61 s")

    def test_events_out_of_order(self):
        for key in ("FifoQueue", "DeduplicationScope", "FifoThroughputLimit"):
            self.caught(checks.order, "EventsQueue", lambda it: it.pop(key), f"`{key}: ")
        self.caught(checks.order, "EventsQueue", lambda it: it.update(ContentBasedDeduplication=True), "deliberate repeat")
        self.caught(checks.order, "CommandsNoopQueue", lambda it: it.update(FifoQueue=True), "timers")

    def test_a_mapping_that_repeats_or_takes_everything(self):
        self.caught(checks.mappings, "WorkerHttpCommands", lambda it: it.pop("FunctionResponseTypes"), "whole batch")
        self.caught(checks.mappings, "WorkerHttpCommands", lambda it: it.update(FunctionResponseTypes=["ReportBatchFailures"]), "whole batch")
        self.caught(checks.mappings, "EventHandlerEvents", lambda it: it.update(BatchSize=100), "BatchSize")
        self.caught(checks.mappings, "EventHandlerEvents", lambda it: it.pop("ScalingConfig"), "MaximumConcurrency")
        self.caught(checks.mappings, "EventHandlerStart", lambda it: it.update(MaximumBatchingWindowInSeconds=1), "window")

    def test_data_that_is_not_safe(self):
        self.caught(checks.at_rest, "StateTable", lambda it: it.pop("SSESpecification"), "not encrypted")
        self.caught(checks.at_rest, "StateTable", lambda it: it.pop("PointInTimeRecoverySpecification"), "recovery")
        self.caught(checks.at_rest, "CatalogTable", lambda it: it.update(BillingMode="PROVISIONED"), "costs")
        self.caught(checks.at_rest, "Bucket", lambda it: it.pop("PublicAccessBlockConfiguration"), "public access")
        self.caught(checks.at_rest, "Bucket", lambda it: it.pop("BucketEncryption"), "not encrypted")
        self.caught(checks.at_rest, "StartQueue", lambda it: it.pop("SqsManagedSseEnabled"), "not encrypted")
        self.caught(checks.at_rest, "ApiLogs", lambda it: it.pop("RetentionInDays"), "for ever")
        for name, said in (("BucketTlsOnly", "`Bucket` has no policy"), ("MasterKey", "`MasterKey` is deleted")):
            mutant = yaml_parse_again(TEMPLATE)
            mutant["Resources"][name] = {**mutant["Resources"][name], "DeletionPolicy": "Delete"}
            if name == "BucketTlsOnly":
                del mutant["Resources"][name]
            self.assertIn(said, " ".join(checks.at_rest(mutant)))

    def test_a_queue_or_a_function_without_an_alarm(self):
        for alarm, said in (
            ("EventsDeadAlarm", "`EventsDeadQueue` has no alarm on `ApproximateNumberOfMessagesVisible`"),
            ("CommandsHttpAgeAlarm", "`CommandsHttpQueue` has no alarm on `ApproximateAgeOfOldestMessage`"),
            ("WorkerHttpErrorsAlarm", "`WorkerHttp` has no alarm on `Errors`"),
            ("SweeperThrottlesAlarm", "`Sweeper` has no alarm on `Throttles`"),
        ):
            mutant = yaml_parse_again(TEMPLATE)
            del mutant["Resources"][alarm]
            self.assertEqual(checks.watched(mutant), [said])
        self.caught(checks.watched, "Api", lambda it: it.pop("LoggingConfig"), "log group")

    def test_wrong_values_that_only_the_translated_template_shows(self):
        mutant = written()
        mutant["Resources"]["Api"]["Properties"]["Runtime"] = "provided.al9999"
        mutant["Resources"]["WorkerHttp"]["Properties"]["Events"]["Commands"]["Properties"]["ScalingConfig"] = {"MaximumConcurrency": 1}
        said = lint(translated(mutant))
        self.assertIn("provided.al9999", said)
        self.assertIn("1 is less than the minimum of 2", said)


if __name__ == "__main__":
    unittest.main()
