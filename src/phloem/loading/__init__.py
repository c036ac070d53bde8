"""organism.yaml -> OrganismConfig; every fault at once as file:line:column.

    files       what is read, in which order: load_config, resolve, unbuilt
    tree        YAML text -> values that know their line and column
    rules       the kinds of values: how each is read, what fits
    keys        the tables: every key, its kind, its attribute
    reading     tree -> OrganismConfig with import paths
    checks      the configuration as a whole: ranges, names, peers
    listeners   what a listener names: payload classes, answers, handler
    pipeline    the edits of the pipeline
    sources     what comes in and goes out beside listeners
    imports     import paths -> objects
    folders     whose modules an import finds
    names       what may be a name
    running     resolved configuration -> the listeners a pump runs
    report      where a fault is said to be

Runs no organism and starts no task.
"""

from __future__ import annotations

from .files import load_config, resolve, unbuilt
from .folders import importable
from .running import peer_of, running_listeners

__all__ = ["importable", "load_config", "peer_of", "resolve", "running_listeners", "unbuilt"]
