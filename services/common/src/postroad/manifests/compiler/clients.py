"""
Compiles Clients: which form of each may be in force, then which usernames they have.

The two are apart, so that a Client asks only for the username of the form that would be in force,
and one that is not in force anyhow keeps a username from nobody. So compiling again on top of
what is published has the same result.
"""

from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace

from postroad.manifests.compiler.bounds import Bound
from postroad.manifests.compiler.entries import client_entry
from postroad.manifests.compiler.findings import Finding, Settled, conditions, decided, invalid
from postroad.manifests.compiler.references import References, allowed_senders
from postroad.manifests.compiler.result import ConditionType, Reason
from postroad.manifests.compiler.usernames import Claimant, Username, Usernames
from postroad.manifests.kinds.client import ClientSpec
from postroad.manifests.objects import Declared
from postroad.policy.model import Client, Credentials, Domain, Entry
from postroad.policy.secrets.verifiers import Verifiers

_PENDING = Finding(
    ConditionType.SECRETS_RESOLVED,
    Reason.PENDING,
    "the password comes into force when it is hashed, after those of other Clients",
    ("spec", "auth", "secretRef", "name"),
)


@dataclass(frozen=True, slots=True)
class _Draft:
    """
    A Client before its username is decided.

    `entry` is what its manifest and Secret say, without its verifier; `kept` is its last good form.
    `denied` has the senders that it may not use, `findings` everything else that is wrong.
    """

    declared: Declared
    types: Sequence[ConditionType]
    findings: Sequence[Finding]
    denied: Sequence[Finding] = ()
    entry: Client | None = None
    login: Credentials | None = None
    kept: Client | None = None

    @property
    def form(self) -> Client | None:
        """The form whose username counts: with findings the last good one."""
        return self.kept if self.findings else self.entry

    @property
    def usable(self) -> Client | None:
        """What is in force if its username is free."""
        form = self.form
        if form is None or not form.senders or decided(self.findings):
            return None
        return form


class Clients:
    """The Clients of one compilation."""

    def __init__(
        self,
        references: References,
        bound: Bound,
        verifiers: Verifiers,
        usernames: Usernames,
        last_good: Mapping[str, Entry],
    ) -> None:
        self._references = references
        self._bound = bound
        self._verifiers = verifiers
        self._usernames = usernames
        self._last_good = last_good

    def compile(
        self, declared: Iterable[Declared], domains: Mapping[str, Domain]
    ) -> Iterator[tuple[Declared, Settled]]:
        """Compile Clients, given oldest first; `domains` are those of strangers' mail, by name."""
        drafts = [self._draft(each, domains) for each in declared]
        claimants = [
            Claimant(usable.key, usable.username, each.kept.username if each.kept else None)
            for each in drafts
            if (usable := each.usable) is not None and usable.username is not None
        ]
        self._usernames.give(claimants, domains)
        for each in drafts:
            yield each.declared, self._settled(each)

    def _draft(self, declared: Declared, domains: Mapping[str, Domain]) -> _Draft:
        last = self._last_good.get(declared.reference.entry_key)
        kept = last if isinstance(last, Client) else None
        spec, findings = declared.spec, invalid(declared)
        types = [ConditionType.ACCEPTED]
        if not isinstance(spec, ClientSpec):
            if kept is not None:
                self._references.check_consent(declared, kept.relay, ("relayRef",), findings)
            return _Draft(declared, types, findings, kept=kept)
        types.append(ConditionType.SENDERS_ALLOWED)
        login, denied = None, list[Finding]()
        if spec.auth is not None:
            types.append(ConditionType.SECRETS_RESOLVED)
            secret = spec.auth.secret_ref.name
            login = self._references.credentials(declared, secret, ("auth",), findings)
        entry = client_entry(
            declared.reference.key,
            spec,
            username=login.username if login else None,
            verifier=None,
            senders=allowed_senders(declared, spec.senders, domains, denied),
            relay=self._references.relay(declared, spec.relay_ref, ("relayRef",), findings),
        )
        findings += self._bound.check(declared, entry, kept)
        return _Draft(declared, types, findings, denied, entry, login, kept)

    def _settled(self, draft: _Draft) -> Settled:
        form, in_force = draft.form, draft.usable
        username = Username(None)
        findings = [*draft.findings]
        if form is not None and form.username is not None:
            username = self._usernames.allowed(form.key, form.username)
            in_force = self._with_username(draft, username.name)
            if in_force is None and draft.usable is not None and username.name is not None:
                in_force = self._meanwhile(draft.kept)
                findings.append(_PENDING)
        # Of a form that is neither wanted nor in force, nobody has to know.
        if username.finding is not None and (in_force is not None or not findings):
            findings.append(username.finding)
        findings += draft.denied
        stale = (bool(draft.findings) or _PENDING in findings) and in_force is not None
        said = conditions(draft.declared, draft.types, findings, stale=stale)
        return Settled(in_force, stale, said)

    def _with_username(self, draft: _Draft, username: str | None) -> Client | None:
        """
        Return what is in force with the username that a Client may have.

        None if there is no username, or if the password is to be hashed later.
        """
        usable = draft.usable
        if usable is None or username is None:
            return None
        if draft.findings or draft.login is None:
            return replace(usable, username=username)
        login = Credentials(username, draft.login.password)
        verifier = self._verifiers.of(usable.key, login)
        return replace(usable, username=username, verifier=verifier) if verifier else None

    def _meanwhile(self, kept: Client | None) -> Client | None:
        """Return the last good form if nobody else has its username, until there is a verifier."""
        if kept is None or kept.username is None:
            return kept
        allowed = self._usernames.allowed(kept.key, kept.username)
        return kept if allowed.name == kept.username else None
