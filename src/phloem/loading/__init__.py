"""organism.yaml -> OrganismConfig; every fault at once as file:line:column.

    files       what is read, in which order: load_config, resolve, unbuilt
    tree        YAML text -> values that know their line and column
    rules       the kinds of single values: how each is read, what fits
    sections    those that hold others: mappings, lists
    plain       values without a table, and headers
    keys        the tables: every key, its kind, its attribute
    llm_keys    those of the models' section
    reading     tree -> OrganismConfig with import paths
    checks      the configuration as a whole: ranges, names, peers
    listeners   what a listener names: payload classes, answers, handler
    llm         the models' section as a whole, and keys of providers
    agents      what an agent without handler needs
    pipeline    the edits of the pipeline
    sources     what comes in and goes out beside listeners
    imports     import paths -> objects
    folders     whose modules an import finds
    names       what may be a name
    running     resolved configuration -> the listeners a pump runs
    hearing     what an agent without handler hears
    report      where a fault is said to be

Runs no organism and starts no task.
"""

from __future__ import annotations

from .files import load_config, resolve, unbuilt
from .folders import importable
from .running import Driver, peer_of, running_listeners

__all__ = ["Driver", "importable", "load_config", "peer_of", "resolve", "running_listeners", "unbuilt"]
