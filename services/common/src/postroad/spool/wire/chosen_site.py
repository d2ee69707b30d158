"""Encodes and decodes the site that was chosen for a record, a part of the queue's record."""

from postroad.proto.v1 import queue_pb2 as wire
from postroad.spool.record import ChosenSite
from postroad.spool.wire.moments import microseconds, moment_of
from postroad.spool.wire.newer import unknown_in


def chosen_out(chosen: ChosenSite) -> wire.ChosenSite:
    """Return a chosen site as it is stored."""
    hosts = [wire.ChosenHost(name=name, addresses=each) for name, each in chosen.hosts]
    at_us = microseconds(chosen.at)
    message = wire.ChosenSite(
        site=chosen.site,
        hosts=hosts,
        at_us=at_us,
        number=chosen.number,
        is_whole=chosen.is_whole,
    )
    if chosen.unknown:
        message.MergeFromString(chosen.unknown)
    return message


def chosen_in(message: wire.ChosenSite) -> ChosenSite:
    """Return a stored chosen site."""
    hosts = tuple((host.name, tuple(host.addresses)) for host in message.hosts)
    at = moment_of(message.at_us)
    unknown = unknown_in(message)
    return ChosenSite(message.site, hosts, at, message.number, message.is_whole, unknown)
