"""
Opening a session as a peer and its Relay want it: TLS as far as it can or must be had, a login.

The one place where a session is given up for another: opportunistic TLS that failed is tried again
without TLS.
"""

import ipaddress

from postroad.delivery.network import TlsFailed, connect
from postroad.delivery.peer import Peer, Refused, SessionLost, Timeouts, TlsUnavailable
from postroad.delivery.session import Session
from postroad.policy.model import TlsMode
from postroad.smtp.client import Phase


async def open_session(peer: Peer, timeouts: Timeouts) -> Session:
    """
    Open a session as far as MAIL; Refused, SessionLost, TlsUnavailable or NetworkError if not.

    Opportunistic TLS that fails is tried without, on a new connection; Required and Verified never
    fall back.
    """
    session = await _connected(peer, timeouts)
    try:
        await _protect(session)
        if peer.credentials is not None:
            if not session.tls and not ipaddress.ip_address(peer.address).is_loopback:
                raise TlsUnavailable(f"{peer.host} offers no TLS to log in under")
            await session.log_in(peer.credentials)
    except (TlsFailed, Refused, SessionLost) as error:
        session.abort()
        failed_in_tls = isinstance(error, TlsFailed) or (
            isinstance(error, Refused | SessionLost) and error.phase is Phase.STARTTLS
        )
        if not failed_in_tls:
            raise
        if peer.tls is not TlsMode.OPPORTUNISTIC or peer.implicit_tls or peer.credentials:
            raise TlsUnavailable(str(error)) from error
        return await _connected(peer, timeouts)
    except BaseException:
        session.abort()
        raise
    return session


async def _connected(peer: Peer, timeouts: Timeouts) -> Session:
    connection = await connect(
        peer.address,
        peer.port,
        source=peer.source,
        timeout=timeouts.of(Phase.CONNECT),
    )
    session = Session(peer, connection, timeouts)
    try:
        if peer.implicit_tls:
            await session.shake_hands()
        await session.greet()
    except TlsFailed as error:
        session.abort()
        raise TlsUnavailable(str(error)) from error
    except BaseException:
        session.abort()
        raise
    return session


async def _protect(session: Session) -> None:
    peer = session.peer
    if peer.tls is TlsMode.NONE or session.tls:
        return
    if session.offers_tls:
        await session.start_tls()
    elif peer.tls is not TlsMode.OPPORTUNISTIC:
        raise TlsUnavailable(f"{peer.host} does not offer TLS")
