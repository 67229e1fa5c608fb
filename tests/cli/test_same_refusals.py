"""`bobrapet run` and `dev` refuse exactly what the webhook refuses."""

from __future__ import annotations

from bobrapet.cli.checks import check_manifests
from bobrapet.cli.errors import ManifestError
from bobrapet.cli.manifests import Manifest
from bobrapet.config.operator import OperatorConfig
from bobrapet.validation import Absent
from tests.unit.validation.replay import judged


def test_the_admission_table_has_the_same_verdicts_on_the_command_line() -> None:
    wrong = []
    asked = 0
    for record in judged():
        scene = record.around
        if record.old is not None or scene.config != OperatorConfig() or scene.hydrate is not None:
            continue
        if scene.absent is Absent.REFUSES:  # where nothing will appear later, a reference to nothing is a fault
            continue
        asked += 1
        manifest = Manifest(record.given, "story.yaml")
        refused = ""
        try:
            check_manifests([manifest], "ns", absent=Absent.WARNS, existing=record.objects, secrets=record.secrets)
        except ManifestError as error:
            refused = str(error)
        if bool(refused) is record.found.is_valid:
            told = [str(fault) for fault in record.found.faults]
            wrong.append(f"{record.given['kind']} {record.given['spec']}: {refused or 'accepted'}; the webhook: {told}")
    assert wrong == []
    assert asked > 200
