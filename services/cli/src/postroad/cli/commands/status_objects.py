"""The part of `postroad status` about objects: mistakes, unreachable smarthosts, used quotas."""

from datetime import datetime

from postroad.cli.state.findings import Findings
from postroad.cli.terminal.output import ago
from postroad.cli.terminal.tables import Column, print_table
from postroad.mail.visible import visible

_SHOWN = 20  # entries of each list; JSON has all that are kept
_QUOTAS = 10
_TROUBLES = (
    Column("OBJECT"),
    Column("CONDITION", 2),
    Column("REASON", 3),
    Column("MESSAGE", 1, 18),
)
_USE = (
    Column("QUOTA"),
    Column("LIMIT", 1),
    Column("SUBJECT", 2, 12),
    Column("USED", 0),
    Column("MAX", 0),
    Column("RESETS", 3),
)


def print_findings(findings: Findings, now: datetime, *, wide: bool) -> None:
    """Print what is wrong, then the use of quotas, the most used first."""
    if findings.mistakes:
        print("\nMistakes in the manifests, as `postroad check` tells them:")
        for mistake in findings.mistakes[:_SHOWN]:
            print(f"  {visible(mistake)}")
    if findings.troubles:
        print()
        rows = [
            (each.object, f"not {each.condition}", each.reason, each.message)
            for each in findings.troubles[:_SHOWN]
        ]
        print_table(_TROUBLES, rows, empty="", wide=wide)
    more = findings.more
    more += sum(max(0, len(each) - _SHOWN) for each in (findings.mistakes, findings.troubles))
    if more:
        print(f"and {more} more; --json and `postroad check` tell more of them")
    if findings.quotas:
        print()
        use = [
            (
                each.quota,
                each.limit,
                each.subject,
                f"{each.used} ({each.share:.0%})",
                str(each.max),
                ago(datetime.fromisoformat(each.resets), now),
            )
            for each in findings.quotas[:_QUOTAS]
        ]
        print_table(_USE, use, empty="", wide=wide)
