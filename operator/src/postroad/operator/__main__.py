"""Entry point of the operator."""

from postroad.operator.app import build
from postroad.operator.settings import OperatorSettings
from postroad.process import entry


def main() -> None:
    """Run it."""
    entry.main("operator", OperatorSettings, build)


if __name__ == "__main__":
    main()
