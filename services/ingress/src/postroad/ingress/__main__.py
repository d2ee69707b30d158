"""Entry point of an ingress process."""

from postroad.ingress.app import build
from postroad.ingress.settings import IngressSettings
from postroad.process import entry


def main() -> None:
    """Run it."""
    entry.main("ingress", IngressSettings, build)


if __name__ == "__main__":
    main()
