"""Entry point of a delivery process. It decides what is loaded before it loads the rest."""

from postroad.process.machine.optional_libraries import leave_out


def main() -> None:
    """Run a delivery process."""
    leave_out("aiohttp", "rich")
    from postroad.delivery.app import build
    from postroad.delivery.settings import DeliverySettings
    from postroad.process import entry

    entry.main("delivery", DeliverySettings, build)


if __name__ == "__main__":
    main()
