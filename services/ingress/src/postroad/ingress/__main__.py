"""Entry point of an ingress process. It decides what is loaded before it loads the rest."""

from postroad.process.machine.optional_libraries import leave_out


def main() -> None:
    """Run an ingress process."""
    leave_out("aiohttp", "rich")
    from postroad.ingress.app import build
    from postroad.ingress.settings import IngressSettings
    from postroad.process import entry

    entry.main("ingress", IngressSettings, build)


if __name__ == "__main__":
    main()
