"""The options that name a cluster, shared by all commands that talk to one."""

import shlex
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated

import typer

from postroad.cli.state.folder import usual_state_folder
from postroad.cli.target.kubectl import KubernetesTarget
from postroad.cli.terminal.values import path

_KUBERNETES = "A cluster on Kubernetes"


@dataclass(frozen=True, slots=True)
class Where:
    """The cluster to talk to; a command with a parameter of this type gets these options."""

    state: Annotated[
        Path | None,
        typer.Option(
            "--state",
            metavar="DIR",
            parser=path("--state"),
            envvar="POSTROAD_STATE",
            help="State folder of the `postroad up` to talk to.",
            show_default="~/.local/state/postroad",
        ),
    ] = None
    context: Annotated[
        str | None,
        typer.Option(
            "--context",
            metavar="NAME",
            help="The kubeconfig context of a cluster to talk to, through kubectl port-forward.",
            rich_help_panel=_KUBERNETES,
        ),
    ] = None
    namespace: Annotated[
        str | None,
        typer.Option(
            "--namespace",
            "-n",
            metavar="NAME",
            help="The namespace of Postroad. Default: the context's own.",
            rich_help_panel=_KUBERNETES,
        ),
    ] = None
    release: Annotated[
        str | None,
        typer.Option(
            "--release",
            metavar="NAME",
            help="The Helm release, where a namespace has several.",
            rich_help_panel=_KUBERNETES,
        ),
    ] = None

    @property
    def flags(self) -> str:
        """The same options as text with a leading space, for commands that a message suggests."""
        given = {
            "--state": self.state if self.state != usual_state_folder() else None,
            "--context": self.context,
            "--namespace": self.namespace,
            "--release": self.release,
        }
        said = [f" {flag} {shlex.quote(str(value))}" for flag, value in given.items() if value]
        return "".join(said)

    @property
    def place(self) -> KubernetesTarget:
        """The release on Kubernetes that the options name."""
        return KubernetesTarget(self.context, self.namespace, self.release)
