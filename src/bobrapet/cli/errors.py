"""What the command line reports and how it ends.

CliError                a fault that a person can mend; printed without a traceback
├── UsageError          exit 2: the command line itself is wrong
└── ManifestError       exit 2: manifests that do not load or are refused; carries every fault
"""

from __future__ import annotations

from collections.abc import Sequence

EXIT_OK = 0
EXIT_FAILED = 1
EXIT_USAGE = 2
EXIT_TIMEOUT = 124
EXIT_INTERRUPTED = 130


class CliError(Exception):
    """A fault that a person can mend. `exit_code` is what the process ends with."""

    exit_code = EXIT_FAILED


class UsageError(CliError):
    """The command line asks for something that cannot be."""

    exit_code = EXIT_USAGE


class ManifestError(CliError):
    """Manifests that do not load or are refused; `faults` holds one line each, all of them."""

    exit_code = EXIT_USAGE

    def __init__(self, faults: Sequence[str]) -> None:
        self.faults = tuple(faults)
        super().__init__("\n".join(self.faults))
