"""The template, its table and the sources agree; and a difference between them is told."""
import unittest

import sources
from template import ROOT, translated, written, yaml_parse_again

WRITTEN = written()
TEMPLATE = translated(WRITTEN)


def read(path):
    """A file of the repository; None if there is none."""
    file = ROOT / path
    return file.read_text() if file.is_file() else None


def but(path, change):
    """The repository with one file changed: `change` makes its text from what it is, None included."""
    return lambda asked: change(read(asked)) if asked == path else read(asked)


class TheSources(unittest.TestCase):
    """The repository as it is."""

    def test_the_table_names_what_the_template_sets(self):
        self.assertEqual(sources.documented(TEMPLATE, read), [])

    def test_the_table_names_who_reads_it(self):
        self.assertEqual(sources.read_where_it_is_said(TEMPLATE, read), [])

    def test_the_template_sets_what_the_adapters_ask_for(self):
        self.assertEqual(sources.configured(TEMPLATE, read), [])

    def test_the_dashboard_shows_the_metrics_of_the_table(self):
        self.assertEqual(sources.measured(TEMPLATE, read), [])

    def test_every_function_is_a_binary(self):
        self.assertEqual(sources.binaries(WRITTEN, read), [])

    def test_times_and_counts_are_those_of_the_limits(self):
        self.assertEqual(sources.bounded(TEMPLATE, read), [])


class Differences(unittest.TestCase):
    """A difference is told in a sentence that names the variable, the metric or the resource."""

    def test_a_variable_that_one_side_does_not_know(self):
        mutant = yaml_parse_again(TEMPLATE)
        mutant["Resources"]["Api"]["Properties"]["Environment"]["Variables"]["NOETL_NEW"] = "1"
        self.assertEqual(sources.documented(mutant, read), ["`NOETL_NEW` is set by the template, and infra/README.md says nothing of it"])
        row = "| a | `NOETL_OLD` | `x.rs` |\n| where the state is"
        old = but(sources.README, lambda it: it.replace("| where the state is", row))
        self.assertEqual(sources.documented(TEMPLATE, old), ["`NOETL_OLD` is in infra/README.md, and the template does not set it"])

    def test_a_file_that_does_not_read_what_it_should(self):
        path = "functions/cli/src/logs.rs"
        empty, gone = but(path, lambda it: ""), but(path, lambda it: None)
        self.assertIn(f"infra/README.md says that `{path}` reads `NOETL_LOG`, and it does not", sources.read_where_it_is_said(TEMPLATE, empty))
        self.assertIn(f"infra/README.md says that `{path}` reads `NOETL_LOG`, and there is no such file", sources.read_where_it_is_said(TEMPLATE, gone))

    def test_a_variable_that_the_adapters_ask_for_in_vain(self):
        asked = but(sources.CONFIG, lambda it: 'lookup("NOETL_ABSENT")')
        self.assertEqual(sources.configured(TEMPLATE, asked), [f"`NOETL_ABSENT` is read by {sources.CONFIG}, and the template does not set it"])

    def test_a_metric_that_one_side_does_not_know(self):
        other = but(sources.README, lambda it: it.replace("`WorkerBusy`", "`WorkerIdle`"))
        said = sources.measured(TEMPLATE, other)
        self.assertTrue(any("`WorkerBusy` is on the dashboard" in one for one in said) and any("`WorkerIdle` is in" in one for one in said), said)

    def test_a_function_without_a_binary_or_without_its_feature(self):
        def bare(asked):
            if asked == "functions/api/Cargo.toml":
                return '[package]\nname = "api"\n'
            return None if asked.startswith("functions/api/") else read(asked)

        said = sources.binaries(WRITTEN, bare)
        self.assertIn("`Api` is built from `api`, and none of event-handler, worker, api has such a binary", said)
        self.assertIn("`functions/api/Cargo.toml` has no feature `lambda`, which its functions are built with", said)

    def test_a_function_that_is_built_from_another_binary(self):
        mutant = yaml_parse_again(WRITTEN)
        mutant["Resources"]["Sweeper"]["Properties"]["FunctionName"] = {"Fn::Sub": "${AWS::StackName}-api"}
        mutant["Resources"]["Api"]["Metadata"]["BuildMethod"] = "rust-cargolambda"
        said = sources.binaries(mutant, read)
        self.assertIn("`Sweeper` is called `api` and built from `sweeper`", said)
        self.assertIn("`Api` is not built by `infra/build/Makefile`, which builds all functions at once", said)

    def test_a_limit_that_the_template_does_not_keep(self):
        for name, key, value, said in (
            ("EventsQueue", "VisibilityTimeout", 90, "EVENT_VISIBILITY_MS"),
            ("WorkerHttp", "Timeout", 60, "TOOL_TIMEOUT_MS_MAX"),
            ("StartQueue", "RedrivePolicy", {"maxReceiveCount": 3}, "RECEIVES_MAX"),
        ):
            mutant = yaml_parse_again(TEMPLATE)
            mutant["Resources"][name]["Properties"][key] = value
            self.assertEqual([f"`{name}`" in one and said in one for one in sources.bounded(mutant, read)], [True])


if __name__ == "__main__":
    unittest.main()
