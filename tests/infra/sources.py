"""What the template, infra/README.md and the Rust sources say of the same things. Each check returns sentences.

The sources are given as a function from a path (relative to the repository) to a text, or None if there is no file.
"""
import re
import tomllib

from checks import FUNCTION, metrics, variables
from template import of_type, text

README = "infra/README.md"
CONFIG = "functions/adapters/src/aws/config.rs"
LIMITS = "engine-core/src/limits.rs"


def rows(readme, heading):
    """The rows of the first table below a heading, as lists of the names in backticks in each column."""
    section = readme.split(f"\n## {heading}\n", 1)[-1].split("\n## ", 1)[0]
    table = section.strip().split("\n\n")[0].splitlines()[2:]
    return [[re.findall(r"`([^`]+)`", cell) for cell in line.strip("|").split("|")] for line in table]


def documented(template, read):
    """The table of the cloud and the template name the same variables."""
    named = {name for row in rows(read(README), "In the cloud") for name in row[1]}
    given = variables(template)
    return [f"`{name}` is set by the template, and {README} says nothing of it" for name in sorted(given - named)] + [
        f"`{name}` is in {README}, and the template does not set it" for name in sorted(named - given)
    ]


def read_where_it_is_said(template, read):
    """The file that a table names reads the variable."""
    found = []
    for heading in ("In the cloud", "On one machine"):
        for row in rows(read(README), heading):
            for path in row[2]:
                source = read(path)
                if source is None:
                    found.append(f"{README} says that `{path}` reads `{row[1][0]}`, and there is no such file")
                    continue
                found += [f"{README} says that `{path}` reads `{name}`, and it does not" for name in row[1] if f'"{name.split("<")[0]}' not in source]
    return found


def configured(template, read):
    """What the adapters' settings ask for is set by the template."""
    asked = set(re.findall(r'"(NOETL_[A-Z_]+)"', read(CONFIG) or ""))
    return [f"`{name}` is read by {CONFIG}, and the template does not set it" for name in sorted(asked - variables(template))]


def measured(template, read):
    """The dashboard shows the metrics of the README's table."""
    table = read(README).split("| metric (dimension", 1)[-1].split("\n\n", 1)[0].splitlines()[2:]
    named = {name for line in table for name in re.findall(r"`(\w+)`", line.split("|")[1])}
    shown = metrics(template)
    return [f"`{name}` is on the dashboard, and {README} says nothing of it" for name in sorted(shown - named)] + [
        f"`{name}` is in {README}, and the dashboard does not show it" for name in sorted(named - shown)
    ]


def binaries(written, read):
    """Every function is named as its resource is, and is a binary of a crate that `sam build` builds."""
    found = []
    crates = re.search(r"^CRATES := (.+)$", read("infra/build/Makefile"), re.MULTILINE)[1].split()
    manifests = {crate: tomllib.loads(read(f"functions/{crate}/Cargo.toml")) for crate in crates}
    for name, resource in written["Resources"].items():
        if resource["Type"] != "AWS::Serverless::Function":
            continue
        binary = text(resource["Properties"]["FunctionName"]).removeprefix("${AWS::StackName}-")
        built = re.sub(r"(.)([A-Z])", r"\1-\2", name).lower()
        if built != binary:
            found.append(f"`{name}` is called `{binary}` and built from `{built}`")
        if resource["Metadata"]["BuildMethod"] != "makefile":
            found.append(f"`{name}` is not built by `infra/build/Makefile`, which builds all functions at once")
        places = [place for crate in crates for place in (f"{crate}/src/bin/{binary}.rs", f"{crate}/src/bin/{binary}/main.rs")]
        named = {one["name"] for manifest in manifests.values() for one in manifest.get("bin", [])}
        if binary not in named and not any(read(f"functions/{place}") for place in places):
            found.append(f"`{name}` is built from `{binary}`, and none of {', '.join(crates)} has such a binary")
    for crate, manifest in manifests.items():
        if "lambda" not in manifest.get("features", {}):
            found.append(f"`functions/{crate}/Cargo.toml` has no feature `lambda`, which its functions are built with")
    return found


def bounded(template, read):
    """The template's times and counts are those of limits.rs."""
    limits = {name: int(value.replace("_", "")) for name, value in re.findall(r"pub const (\w+): \w+ = ([\d_]+);", read(LIMITS))}
    found = []
    for name, queue in of_type(template, "AWS::SQS::Queue").items():
        tries = (queue.get("RedrivePolicy") or {}).get("maxReceiveCount", limits["RECEIVES_MAX"])
        if tries != limits["RECEIVES_MAX"]:
            found.append(f"`{name}` tries {tries} times, and `RECEIVES_MAX` is {limits['RECEIVES_MAX']}")
        if name == "EventsQueue" and queue["VisibilityTimeout"] * 1000 != limits["EVENT_VISIBILITY_MS"]:
            found.append(f"`{name}` hides messages for {queue['VisibilityTimeout']} s, and `EVENT_VISIBILITY_MS` is {limits['EVENT_VISIBILITY_MS']}")
    for name, function in of_type(template, FUNCTION).items():
        # Timers and looking a secret up are over at once; every other tool may use up its time.
        is_tool = name.startswith("Worker") and name not in ("WorkerNoop", "WorkerSecrets")
        if is_tool and function["Timeout"] * 1000 <= limits["TOOL_TIMEOUT_MS_MAX"]:
            found.append(f"`{name}` ends after {function['Timeout']} s, and a tool may take `TOOL_TIMEOUT_MS_MAX`, {limits['TOOL_TIMEOUT_MS_MAX']} ms")
    return found

