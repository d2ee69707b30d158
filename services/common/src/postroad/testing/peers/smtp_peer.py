"""The client side of an SMTP session, line by line, for dialogs that tests write out."""

import asyncio
import contextlib
import ssl

from postroad.testing.patience import patient


def client_context() -> ssl.SSLContext:
    """Return a client's TLS context that accepts any certificate, as mail servers do."""
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    context.check_hostname = False
    context.verify_mode = ssl.CERT_NONE
    return context


class SmtpPeer:
    """The client side of one session."""

    def __init__(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self.reader = reader
        self.writer = writer

    async def reply(self) -> str:
        """Return one reply, its lines joined by newlines, without CRLF; "" at the end."""
        lines: list[str] = []
        async with asyncio.timeout(patient(10)):
            while True:
                line = await self.reader.readline()
                lines.append(line.decode().rstrip("\r\n"))
                if line[3:4] != b"-":
                    return "\n".join(lines)

    async def say(self, line: str) -> str:
        """Send a line and return the reply."""
        return await self.send(line.encode() + b"\r\n")

    async def send(self, octets: bytes) -> str:
        """Send octets and return the reply to them."""
        self.writer.write(octets)
        return await self.reply()

    async def all_replies(self, octets: bytes) -> list[str]:
        """Send octets, end the input, and return every reply up to the end of the session."""
        with contextlib.suppress(OSError):
            self.writer.write(octets)
            self.writer.write_eof()
        replies = []
        with contextlib.suppress(OSError):
            while reply := await self.reply():
                replies.append(reply)
        return replies

    async def start_tls(self, context: ssl.SSLContext) -> None:
        """Do the TLS handshake, after the reply to STARTTLS."""
        await self.writer.start_tls(context)

    async def envelope(self, sender: str, *recipients: str) -> list[str]:
        """Send EHLO, MAIL and RCPT; return the replies to MAIL and each RCPT."""
        await self.say("EHLO client.example")
        said = [await self.say(f"MAIL FROM:<{sender}>")]
        return said + [await self.say(f"RCPT TO:<{recipient}>") for recipient in recipients]

    async def message(self, content: bytes = b"Subject: hi\r\n\r\nhello\r\n") -> str:
        """Send DATA and content that needs no stuffing; return the reply to the final dot."""
        assert (await self.say("DATA")).startswith("354 ")
        return await self.send(content + b".\r\n")
