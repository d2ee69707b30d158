"""Entry point of a delivery process."""

from postroad.delivery.app import build
from postroad.delivery.settings import DeliverySettings
from postroad.process import entry


def main() -> None:
    """Run a delivery process."""
    entry.main("delivery", DeliverySettings, build)


if __name__ == "__main__":
    main()
