"""
Each line of the tables in docs/security.md has a test that shows it.

A promise that no test shows is only hoped for. What a cell says is split at its semicolons. Who
writes or changes a line names the test here.
"""

import ast
import re
from collections.abc import Iterator
from functools import cache
from itertools import pairwise
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
PAGE = ROOT / "docs" / "security.md"
NOTHING = "–"
_BETWEEN = re.compile(r"; (?=(?:[^`]*`[^`]*`)*[^`]*$)")  # not within code

WALLS = "spool/test_walls.py"
ROLES = "spool/test_what_roles_can.py"
WORK = "spool/test_permissions.py"
CLAIMS = "policy/test_claims.py"
PROOFS = "operator/test_proofs.py"
OBJECTS = "charts/test_objects.py"

NOT_IMPORTED = f"{WALLS}::test_what_is_not_imported_has_nobody_who_answers"
IMPORTS = f"{WALLS}::test_a_role_has_an_account_of_its_own_with_nothing_but_its_imports"
STORES_AND_READS = f"{ROLES}::test_a_role_stores_and_reads_what_the_page_says"
OPENS = "policy/test_codec.py::test_a_role_reads_every_entry_without_the_secrets_of_others"
OWN_KEY = "charts/test_values.py::test_a_pod_has_the_cluster_key_of_its_role_alone"
DNS_PROVES = f"{PROOFS}::test_what_the_dns_proves"
BEST_CLAIM = f"{CLAIMS}::test_the_better_proof_has_the_name_however_young"
OPERATORS_RIGHTS = (
    f"{OBJECTS}::test_the_operator_has_rights_in_the_namespaces_that_it_follows_alone"
)
TOOLBOX = f"{OBJECTS}::test_people_have_a_pod_with_the_rights_of_the_command_alone"
PERSON = f"{WORK}::test_a_person_looks_at_the_queue_and_gives_orders"

# By the first cell of a line, and by what its other cells say.
SHOWN: dict[str, dict[str, tuple[str, ...]]] = {
    "whoever runs the relay": {
        "the release's namespace": (
            "policy/test_grants.py::test_a_grant_outside_the_namespace_of_the_release_says_so",
        ),
        "grant names (DomainGrant), claim any name without proof, limit anybody (Quota)": (
            BEST_CLAIM,
            f"{CLAIMS}::test_the_release_s_own_namespace_needs_no_proof",
            "policy/test_quota.py::test_a_message_counts_for_whom_it_is_sent",
        ),
    },
    "a tenant": {
        "Domains, Relays, Clients and Secrets in the own namespace": (
            "policy/test_login_secrets.py::test_a_secret_elsewhere_is_not_looked_at",
            "policy/test_relay_references.py::test_a_relay_elsewhere_must_admit_the_namespace",
        ),
        "decide where the mail of that namespace goes, and as whom it may send": (
            f"{CLAIMS}::test_a_name_that_nobody_has_proven_counts_at_home_and_for_strangers",
            "ingress/test_admission.py::test_a_domain_is_sent_as_by_its_own_namespace_only",
        ),
        "take, delay or refuse the mail of other namespaces, keep them from a name, take their"
        " username, name networks without a grant": (
            f"{CLAIMS}::test_an_unproven_domain_neither_carries_nor_forbids_the_mail_of_others",
            "end_to_end/test_claims.py::test_the_mail_of_others_takes_the_route_of_a_domain_only_when_it_is_granted",
            f"{CLAIMS}::test_who_claims_an_unproven_name_first_keeps_nobody_from_claiming_it",
            "policy/test_usernames.py::test_who_comes_first_keeps_nobody_from_logging_in",
            "operator/test_client_networks.py::test_only_a_namespace_that_may_names_networks",
        ),
    },
    "the owner of a domain": {
        "its DNS": (DNS_PROVES,),
        "prove the claim of a namespace, or end it": (
            DNS_PROVES,
            f"{PROOFS}::test_a_record_that_is_gone_ends_the_proof_after_a_day",
        ),
    },
    "strangers (hosts that are no Client)": {
        "send to Domains that receive": ("ingress/test_admission.py::test_a_stranger",),
        "send anywhere else": ("ingress/test_admission.py::test_a_stranger",),
    },
    "ingress": {
        "its cluster key": (OWN_KEY,),
        "check passwords of Clients, and try guesses without a brake": (
            OPENS,
            "policy/test_scram.py::test_a_password_matches_itself_in_any_spelling",
        ),
        "log in to a smarthost": (OPENS,),
        "read the mail and the passwords that come in there": (
            "ingress/test_auth.py::test_a_password_opens_the_way_out",
        ),
        "put mail in as anybody, and the events that mail was accepted or refused": (
            f"{ROLES}::test_ingress_puts_in_mail_in_the_name_of_anybody",
            STORES_AND_READS,
        ),
        "spend and give back quotas": (f"{WORK}::test_quotas_are_leased_and_sites_are_learnt",),
        "note logins": (STORES_AND_READS, f"{WORK}::test_quotas_are_leased_and_sites_are_learnt"),
        "end sessions of other ingress processes, which then write them again": (
            f"{ROLES}::test_a_session_that_another_process_of_its_role_ends_is_written_again",
        ),
        "read the configuration, orders, sessions, quotas, sites and suppressions": (
            STORES_AND_READS,
        ),
        "read mail in the queue, its bodies or its history": (NOT_IMPORTED, IMPORTS),
        "take mail, acknowledge it or delete it by the API": (NOT_IMPORTED, IMPORTS),
        "replace or remove a body, unless it knows its random name, as of those that it wrote"
        " itself": (
            "spool/test_body_walls.py::test_ingress_cannot_harm_a_body_whose_name_it_does_not_know",
        ),
        "replace or end mail whose id it knows": (
            "spool/test_known_ids.py::test_both_are_delivered_when_both_wait",
            "spool/test_known_ids.py::test_mail_of_a_dead_process_comes_again",
        ),
        "write the configuration, the layout, orders, sites or suppressions": (NOT_IMPORTED,),
        "own lanes, or end the session of another role": (
            NOT_IMPORTED,
            "spool/test_false_sessions.py::test_who_is_no_delivery_takes_no_lane",
        ),
    },
    "delivery": {
        "its cluster key": (OWN_KEY,),
        "log in to every smarthost that a Relay names": (
            OPENS,
            "smtp_client/test_session_logins.py::test_logging_in_with_plain",
        ),
        "check or guess passwords of Clients": (OPENS,),
        "read, send, defer and end all mail, and everything else that ingress can read": (
            STORES_AND_READS,
            f"{WORK}::test_mail_goes_its_whole_way",
            f"{ROLES}::test_delivery_ends_mail_that_waits_and_mail_that_it_takes",
        ),
        "own all lanes": (
            STORES_AND_READS,
            "spool/test_false_sessions.py::test_who_is_a_delivery_gets_its_lanes",
        ),
        "read and add to the history": (STORES_AND_READS,),
        "change what is known of sites and suppressions": (STORES_AND_READS,),
        "report on orders": (STORES_AND_READS, PERSON),
        "make, change, purge or delete a stream or bucket": (
            NOT_IMPORTED,
            f"{WORK}::test_the_operator_alone_makes_the_bucket_of_sessions_anew",
        ),
        "write the configuration, the layout, orders or quotas": (NOT_IMPORTED,),
        "delete history": (NOT_IMPORTED,),
        "end sessions of other roles": (NOT_IMPORTED,),
    },
    "operator": {
        "both cluster keys": (OWN_KEY,),
        "a token for the Kubernetes API": (OPERATORS_RIGHTS,),
        "both": (OWN_KEY, OPENS),
        "read the Secrets of the namespaces that it follows": (OPERATORS_RIGHTS,),
        "read those of other namespaces, unless `operator.clusterWide` is set": (
            OPERATORS_RIGHTS,
            f"{OBJECTS}::test_the_operator_follows_all_namespaces_where_that_is_asked_for",
        ),
        "everything with the queue that its servers allow, but put mail in or acknowledge it": (
            f"{ROLES}::test_the_operator_does_with_the_streams_what_the_servers_allow",
            f"{WALLS}::test_the_operator_puts_no_mail_and_acknowledges_none",
        ),
        "write the configuration, the layout and orders": (STORES_AND_READS,),
    },
    "toolbox": {
        "a login at NATS": (TOOLBOX,),
        "see the queue and its history, hold, release, bounce and delete mail": (PERSON,),
        "read a secret, change the configuration, send mail as somebody else": (
            TOOLBOX,
            NOT_IMPORTED,
        ),
    },
    "command": {
        "read the queue with its bodies, the history, orders, sessions, quotas, sites and"
        " suppressions": (PERSON, STORES_AND_READS),
        "give orders, which may bounce or delete any mail": (
            PERSON,
            "delivery/test_worker_orders.py::test_a_bounce_order_tells_the_sender",
            "delivery/test_worker_orders.py::test_a_delete_order_removes_mail_and_tells_nobody",
        ),
        "put mail in or take it": (NOT_IMPORTED,),
        "read or write the configuration": (NOT_IMPORTED,),
        "change anything else": (IMPORTS, NOT_IMPORTED),
    },
    "nats-server": {
        "read and change everything": (
            f"{ROLES}::test_who_has_the_files_of_a_server_reads_the_mail",
        ),
    },
    "`Trusted`": {
        "the namespace is the release's own, or the only one that `operator.watchNamespaces` names:"
        " a second name there ends it at once": (
            f"{CLAIMS}::test_the_release_s_own_namespace_needs_no_proof",
            "operator/test_declared_claims.py::test_a_second_namespace_to_follow_ends_the_trust_in_the_first",
        ),
    },
    "`Granted`": {
        "a DomainGrant in the release's namespace gives the name to the namespace": (
            BEST_CLAIM,
            "policy/test_grants.py::test_a_grant_elsewhere_or_of_something_else_grants_nothing",
        ),
    },
    "`TXTRecord`": {
        "a TXT record `_postroad.NAME` has the text `relay=HOSTNAME; namespace=NAMESPACE`": (
            DNS_PROVES,
        ),
    },
    "`MXRecord`": {
        "an MX record of the name is the relay's `hostname`, and there is no such TXT record for"
        " another namespace": (
            DNS_PROVES,
            f"{PROOFS}::test_where_others_have_txt_records_an_mx_record_is_denied",
        ),
    },
    "`NotConfirmed`": {
        "one of the above counted, and the DNS does not confirm it at the moment, see below": (
            BEST_CLAIM,
        ),
    },
    "does not answer, or fails (SERVFAIL)": {
        "stays for a week after it was last confirmed, counted anew when the operator starts": (
            f"{PROOFS}::test_a_name_server_that_fails_ends_no_proof_for_a_week",
            f"{PROOFS}::test_a_new_operator_keeps_what_was_proven_though_the_dns_is_away",
        ),
    },
    "says that the records are gone": {
        "stays for a day, unless the claim of another namespace counts": (
            f"{PROOFS}::test_a_record_that_is_gone_ends_the_proof_after_a_day",
            BEST_CLAIM,
        ),
        "also if the DNS does not answer meanwhile": (
            f"{PROOFS}::test_silence_does_not_prolong_a_claim_that_was_denied",
        ),
    },
    "has no TXT record any more, but an MX record that names the relay": {
        "counts for a day as a TXT record that is not confirmed, then as an MX record": (
            f"{PROOFS}::test_a_txt_record_that_is_gone_is_no_mx_record_s_equal_for_a_day",
            f"{PROOFS}::test_an_mx_record_that_was_there_when_the_dns_last_answered_counts_after_the_day",
        ),
    },
    "confirms it again": {
        "is as good as before": (f"{PROOFS}::test_a_record_that_comes_back_is_as_good_as_before",),
    },
}


def cells(line: str) -> list[str]:
    return [cell.strip() for cell in line.strip("|").split("|")]


def promises() -> Iterator[tuple[str, str]]:
    """Yield what each cell of a table says, with the first cell of its line."""
    lines = PAGE.read_text(encoding="utf-8").splitlines()
    for line, following in pairwise(lines):
        is_head = following.startswith("| ---")
        if not line.startswith("|") or line.startswith("| ---") or is_head:
            continue
        who, *rest = cells(line)
        for cell in rest:
            yield from ((who, said) for said in _BETWEEN.split(cell) if said != NOTHING)


PROMISES = list(promises())


@cache
def names_in(file: str) -> frozenset[str]:
    tree = ast.parse((ROOT / "tests" / file).read_text(encoding="utf-8"))
    functions = ast.FunctionDef | ast.AsyncFunctionDef
    return frozenset(each.name for each in tree.body if isinstance(each, functions))


def test_the_page_makes_promises() -> None:
    assert len(PROMISES) > 50


@pytest.mark.parametrize(("who", "said"), PROMISES)
def test_a_line_of_the_page_has_a_test(who: str, said: str) -> None:
    shown = SHOWN.get(who, {}).get(said)
    assert shown, f"name here the test that shows it: {who}: {said}"
    for each in shown:
        file, _, name = each.partition("::")
        assert name in names_in(file), each


def test_nothing_is_shown_that_the_page_does_not_say() -> None:
    named = {(who, said) for who, all_said in SHOWN.items() for said in all_said}
    assert sorted(named - set(PROMISES)) == []
