"""The verbs a person types. Heavy imports wait until a verb needs them: `bobrapet --help` answers at once."""

from __future__ import annotations

import sys
from enum import StrEnum
from typing import Annotated

import typer

from bobrapet import __version__
from bobrapet.cli.errors import EXIT_INTERRUPTED, CliError

app = typer.Typer(
    name="bobrapet",
    help="Runs workflows described as Kubernetes manifests: on this machine, or as the operator of a cluster.",
    no_args_is_help=True,
    add_completion=True,
    pretty_exceptions_enable=False,
    context_settings={"help_option_names": ["-h", "--help"]},
)

_RUN = "Run a Story"
_CLUSTER = "Work with a cluster"
_AUTHOR = "Write components"


class OutputFormat(StrEnum):
    text = "text"
    json = "json"
    yaml = "yaml"


class ExplainFormat(StrEnum):
    text = "text"
    json = "json"


Paths = Annotated[
    list[str], typer.Argument(metavar="PATH...", help="Manifest files, folders (read recursively), or - for stdin.")
]
OptionalPaths = Annotated[
    list[str] | None, typer.Argument(metavar="[PATH...]", help="Manifests to apply: files, folders, or - for stdin.")
]
Images = Annotated[
    list[str] | None,
    typer.Option(
        "--image",
        metavar="IMAGE=COMMAND",
        help="What to execute for a container image, with or without tag. COMMAND is split as a shell does.",
    ),
]

Strict = Annotated[
    bool,
    typer.Option(
        "--strict",
        help="Hold containers to their users, capabilities, read-only root and CPU limits, as far as this machine can.",
    ),
]


def _version(asked: bool) -> None:
    if asked:
        typer.echo(f"bobrapet {__version__}")
        raise typer.Exit


@app.callback()
def root(
    version: Annotated[bool, typer.Option("--version", callback=_version, is_eager=True, help="Show it.")] = False,
) -> None:
    """Runs workflows described as Kubernetes manifests."""


@app.command(rich_help_panel=_RUN)
def run(
    paths: Paths,
    story: Annotated[str | None, typer.Option(metavar="NAME", help="Which Story, where there are several.")] = None,
    namespace: Annotated[
        str, typer.Option("-n", "--namespace", metavar="NAMESPACE", help="For manifests that name none.")
    ] = "default",
    inputs: Annotated[
        list[str] | None,
        typer.Option(
            "--input", metavar="KEY=VALUE", help="A Story input; a.b=3 nests; values that parse as JSON are JSON."
        ),
    ] = None,
    inputs_file: Annotated[
        str | None, typer.Option("--inputs", metavar="FILE", help="Story inputs as YAML or JSON; - for stdin.")
    ] = None,
    name: Annotated[str | None, typer.Option(metavar="RUN", help="Name of the StoryRun. Default: made up.")] = None,
    image: Images = None,
    timeout: Annotated[
        str | None, typer.Option(metavar="5m", help="Cancel the run after this long and exit 124. Default: never.")
    ] = None,
    output: Annotated[
        OutputFormat, typer.Option("-o", "--output", help="text: the Story's output; json, yaml: the StoryRun.")
    ] = OutputFormat.text,
    data_dir: Annotated[
        str | None, typer.Option(metavar="DIR", help="Keep the state here. Default: temporary, gone afterwards.")
    ] = None,
    verbose: Annotated[
        bool, typer.Option("-v", "--verbose", help="Also show what the control plane does, and how long starting took.")
    ] = False,
    approve: Annotated[
        list[str] | None,
        typer.Option("--approve", metavar="STEP[=WHY]", help="Approve a gate as soon as the run reaches it."),
    ] = None,
    reject: Annotated[list[str] | None, typer.Option("--reject", metavar="STEP[=WHY]", help="Reject it.")] = None,
    strict: Strict = False,
) -> None:
    """Run one Story here, without a cluster, and print its output.

    Exit codes: 0 the run succeeded; 1 it ended otherwise; 2 bad usage or a manifest that is refused;
    124 --timeout; 130 interrupted (Ctrl-C cancels gracefully, a second one kills).
    """
    from bobrapet.cli import run as verb

    request = verb.RunRequest(
        paths=tuple(paths),
        story=story,
        namespace=namespace,
        inputs=tuple(inputs or ()),
        inputs_file=inputs_file,
        name=name,
        images=tuple(image or ()),
        timeout=timeout,
        output=output.value,
        data_dir=data_dir,
        verbose=verbose,
        approve=tuple(approve or ()),
        reject=tuple(reject or ()),
        strict=strict,
    )
    raise typer.Exit(verb.main(request))


@app.command(rich_help_panel=_RUN)
def dev(
    paths: OptionalPaths = None,
    data_dir: Annotated[
        str | None, typer.Option(metavar="DIR", help="Keep state, port and keys here. Default: temporary.")
    ] = None,
    listen: Annotated[str, typer.Option(metavar="HOST:PORT", help="Where the API is served.")] = "127.0.0.1:0",
    image: Images = None,
    namespace: Annotated[
        str, typer.Option("-n", "--namespace", metavar="NAMESPACE", help="For manifests that name none.")
    ] = "default",
    strict: Strict = False,
) -> None:
    """Keep a control plane running here, for kubectl and any Kubernetes client."""
    from bobrapet.cli import dev as verb

    raise typer.Exit(verb.main(tuple(paths or ()), data_dir, listen, tuple(image or ()), namespace, strict))


@app.command(rich_help_panel=_CLUSTER)
def explain(
    name: Annotated[str, typer.Argument(metavar="RUN", help="Name of the StoryRun.")],
    namespace: Annotated[
        str, typer.Option("-n", "--namespace", metavar="NAMESPACE", help="Where the run is.")
    ] = "default",
    kubeconfig: Annotated[
        str, typer.Option(metavar="FILE", help="Which API server. Default: KUBECONFIG, then that of the user.")
    ] = "",
    data_dir: Annotated[
        str | None, typer.Option(metavar="DIR", help="A folder of `bobrapet dev` or `run`, served or not; only read.")
    ] = None,
    output: Annotated[
        ExplainFormat, typer.Option("-o", "--output", help="text for people, json for programs.")
    ] = ExplainFormat.text,
) -> None:
    """Tell what each step of a run does or waits for, and what happens next and when.

    Exit codes: 0 explained; 1 no such run, or the control plane cannot be read; 2 bad usage.
    """
    from bobrapet.cli import explain as verb

    request = verb.ExplainRequest(
        name=name,
        namespace=namespace,
        kubeconfig=kubeconfig,
        data_dir=data_dir,
        as_json=output is ExplainFormat.json,
    )
    raise typer.Exit(verb.main(request))


@app.command(rich_help_panel=_CLUSTER)
def node(
    kubeconfig: Annotated[str, typer.Option(metavar="FILE", help="The API server whose pods are run here.")],
    image: Images = None,
    name: Annotated[str, typer.Option(metavar="NAME", help="What the node is called.")] = "bobrapet-local",
    data_dir: Annotated[
        str | None, typer.Option(metavar="DIR", help="Pod folders and logs. Default: temporary.")
    ] = None,
    address: Annotated[
        str, typer.Option(metavar="IP", help="Address of this machine that the node and its pods say is theirs.")
    ] = "127.0.0.1",
    strict: Strict = False,
) -> None:
    """Run the pods of an API server as processes of this machine."""
    from bobrapet.cli import node as verb

    raise typer.Exit(verb.main(kubeconfig, tuple(image or ()), name, data_dir, address, strict))


config_app = typer.Typer(
    invoke_without_command=True,
    no_args_is_help=False,
    help="Show the operator's configuration and where it comes from, or check one.",
)
app.add_typer(config_app, name="config", rich_help_panel=_CLUSTER)


@config_app.callback()
def config(
    context: typer.Context,
    file: Annotated[
        str | None, typer.Option("-f", "--file", metavar="FILE", help="A ConfigMap in a file instead of the cluster's.")
    ] = None,
    kubeconfig: Annotated[
        str, typer.Option(metavar="FILE", help="Which API server. Default: KUBECONFIG, then that of the user.")
    ] = "",
    config_namespace: Annotated[
        str, typer.Option(metavar="NAMESPACE", help="Where the ConfigMap is.")
    ] = "bobrapet-system",
    config_name: Annotated[str, typer.Option(metavar="NAME", help="What it is called.")] = "bobrapet-operator-config",
    max_concurrent_reconciles: Annotated[
        str, typer.Option(metavar="NAME=N,...", help="That flag of the manager, which wins over the ConfigMap.")
    ] = "",
    changed: Annotated[bool, typer.Option("--changed", help="Only what is not the default.")] = False,
    output: Annotated[
        OutputFormat, typer.Option("-o", "--output", help="text for people; json, yaml for programs.")
    ] = OutputFormat.text,
) -> None:
    """Print every key of the operator's configuration with its value and source: default, ConfigMap or flag.

    Exit codes: 0 printed; 1 the operator would refuse it, or it cannot be read; 2 bad usage.
    """
    if context.invoked_subcommand is not None:
        return
    from bobrapet.cli import config as verb

    request = verb.ConfigRequest(
        file=file,
        kubeconfig=kubeconfig,
        namespace=config_namespace,
        name=config_name,
        workers=max_concurrent_reconciles,
        changed=changed,
        output=output.value,
    )
    raise typer.Exit(verb.show(request))


@config_app.command("check")
def config_check(
    file: Annotated[str, typer.Argument(metavar="FILE", help="A ConfigMap, or only its data; - for stdin.")],
) -> None:
    """Explain what is wrong with a configuration: values, keys, and what the operator makes of them.

    Exit codes: 0 all good; 1 something is wrong; 2 the file cannot be read.
    """
    from bobrapet.cli import config as verb

    raise typer.Exit(verb.check(file))


@app.command(
    rich_help_panel=_CLUSTER,
    add_help_option=False,
    context_settings={"allow_extra_args": True, "ignore_unknown_options": True, "help_option_names": []},
)
def manager(context: typer.Context) -> None:
    """The operator alone, for a cluster. Takes the flags of bobrapet-manager: see `bobrapet manager --help`."""
    from bobrapet import manager as verb

    raise typer.Exit(verb.main(context.args))


storage_app = typer.Typer(help="Look after stored payloads.", no_args_is_help=True)
app.add_typer(storage_app, name="storage", rich_help_panel=_CLUSTER)


@storage_app.command("gc")
def storage_gc(
    dry_run: Annotated[bool, typer.Option("--dry-run", help="Tell what would be deleted, and delete nothing.")] = False,
    namespace: Annotated[
        str, typer.Option("-n", "--namespace", metavar="NAMESPACE", help="Only payloads of this one. Default: all.")
    ] = "",
    older_than: Annotated[
        str, typer.Option(metavar="1h", help="Leave younger objects alone: their run may be about to be created.")
    ] = "1h",
    cache_older_than: Annotated[
        str, typer.Option(metavar="720h", help="Also delete cached outputs of this age. Default: keep them.")
    ] = "",
    claims: Annotated[
        str | None,
        typer.Option(metavar="DIR", help="Where the volumes of file storage lie here, as NAMESPACE/CLAIM."),
    ] = None,
    kubeconfig: Annotated[
        str, typer.Option(metavar="FILE", help="Which API server. Default: KUBECONFIG, then that of the user.")
    ] = "",
    data_dir: Annotated[
        str | None, typer.Option(metavar="DIR", help="The folder of a `bobrapet dev` that is running.")
    ] = None,
    output: Annotated[
        ExplainFormat, typer.Option("-o", "--output", help="text for people, json for programs.")
    ] = ExplainFormat.text,
) -> None:
    """Delete stored payloads of runs that are gone.

    Exit codes: 0 done; 1 a store could not be reached; 2 bad usage.
    """
    from bobrapet.cli import storage as verb

    request = verb.GcRequest(
        kubeconfig=kubeconfig,
        data_dir=data_dir,
        claims=claims,
        namespace=namespace,
        older_than=older_than,
        cache_older_than=cache_older_than,
        dry_run=dry_run,
        as_json=output is ExplainFormat.json,
    )
    raise typer.Exit(verb.main(request))


engram = typer.Typer(help="Write a component: print its template, run it alone.", no_args_is_help=True)
app.add_typer(engram, name="engram", rich_help_panel=_AUTHOR)

Component = Annotated[
    str,
    typer.Argument(metavar="MODULE:FUNCTION", help="The component: package.module:function or path/file.py:function."),
]


@engram.command("template")
def engram_template(
    component: Component,
    image: Annotated[str, typer.Option(metavar="IMAGE", help="Container image. Default: what @engram says.")] = "",
    version: Annotated[str, typer.Option(metavar="1.0.0", help="Version. Default: what @engram says.")] = "",
    name: Annotated[str, typer.Option(metavar="NAME", help="Name. Default: the function's, with dashes.")] = "",
    mode: Annotated[
        list[str] | None, typer.Option(metavar="MODE", help="Supported mode, repeatable. Default: job.")
    ] = None,
) -> None:
    """Print the EngramTemplate of a component, with schemas from its types, as YAML."""
    from bobrapet.cli import engram as verb

    raise typer.Exit(verb.template(component, name=name, version=version, image=image, modes=tuple(mode or ())))


@engram.command("run")
def engram_run(
    component: Component,
    inputs: Annotated[
        list[str] | None,
        typer.Option("--input", metavar="KEY=VALUE", help="An input; a.b=3 nests; values that parse as JSON are JSON."),
    ] = None,
    inputs_file: Annotated[
        str | None, typer.Option("--inputs", metavar="FILE", help="Inputs as YAML or JSON; - for stdin.")
    ] = None,
    config: Annotated[
        list[str] | None, typer.Option("--config", metavar="KEY=VALUE", help="A configuration value, as --input.")
    ] = None,
    secret: Annotated[
        list[str] | None, typer.Option("--secret", metavar="NAME.KEY=VALUE", help="One key of one secret.")
    ] = None,
    timeout: Annotated[str, typer.Option(metavar="5m", help="Time limit of the step.")] = "30m",
    storage: Annotated[
        str | None, typer.Option(metavar="DIR", help="Payload store: large values are kept as files here.")
    ] = None,
    status: Annotated[
        bool, typer.Option("--status", help="Print the whole status: phase, signals, effects, error.")
    ] = False,
    verbose: Annotated[bool, typer.Option("-v", "--verbose", help="Debug lines too.")] = False,
) -> None:
    """Run a component alone, in this process, and print its output as JSON; log lines go to stderr.

    Exit codes are the component's: 0 succeeded; 1 failed; 2 bad usage; 124 timed out; 143 cancelled.
    """
    from bobrapet.cli import engram as verb

    request = verb.RunRequest(
        component=component,
        inputs=tuple(inputs or ()),
        inputs_file=inputs_file,
        config=tuple(config or ()),
        secrets=tuple(secret or ()),
        timeout=timeout,
        storage=storage,
        status=status,
        verbose=verbose,
    )
    raise typer.Exit(verb.run(request))


def main() -> None:
    """Entry point of the console script."""
    try:
        app()
    except CliError as error:
        print(f"error: {error}", file=sys.stderr)
        sys.exit(error.exit_code)
    except KeyboardInterrupt:
        sys.exit(EXIT_INTERRUPTED)
    except BrokenPipeError:
        # Whoever read our output has gone; Python would complain again when it flushes at exit.
        sys.stdout = None
        sys.exit(0)


if __name__ == "__main__":
    main()
