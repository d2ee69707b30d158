"""A whole transaction over a session, for tests that want nothing between its steps."""

from postroad.smtp_client.session import Session
from postroad.smtp_client.transaction import Outgoing, TransactionReplies


async def transact(session: Session, message: Outgoing, transaction: TransactionReplies) -> None:
    """Send a message, and note what is answered, as it comes."""
    if await session.begin(message, transaction):
        await session.send(message)
        await session.end(transaction)
