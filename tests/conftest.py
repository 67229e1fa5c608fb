"""What every test shares: the record of spec cases and hypothesis profiles."""

from __future__ import annotations

import os
import signal

from hypothesis import HealthCheck, settings

pytest_plugins = ["tests.spec_plugin"]

settings.register_profile(
    "default",
    max_examples=100,
    deadline=None,
    derandomize=True,  # what passed here passes elsewhere; HYPOTHESIS_PROFILE=soak looks for new examples
    suppress_health_check=[HealthCheck.too_slow],
    database=None,
)
settings.register_profile("soak", settings.get_profile("default"), max_examples=5_000, derandomize=False)
settings.load_profile(os.environ.get("HYPOTHESIS_PROFILE", "default"))

# Programs of a control plane start in seconds; where a machine does many things at once they may take minutes.
os.environ.setdefault("KUBEBUILDER_CONTROLPLANE_START_TIMEOUT", "180")

# What is started in the background or by nohup ignores these signals, and would hand that on to the processes that the
# tests start and ask to end.
for number in (signal.SIGINT, signal.SIGQUIT, signal.SIGHUP):
    if signal.getsignal(number) == signal.SIG_IGN:
        signal.signal(number, signal.SIG_DFL)
