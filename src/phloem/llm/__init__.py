"""Agents that speak through models: the router, the assembly of a call, the handler without code.

    requests      what goes to a model and what comes back; what a backend is
    settings      the llm section, read (backend_settings, checks, prices, secret)
    router        which backend takes a request, and when it is tried again
    choosing      models and strategies -> backends, in their order; pure
    gateway       one backend as the router sees it, one attempt (bucket, outage)
    streaming     an answer on its way through the router
    opening       backends made, and closed with the organism
    providers/    the two wire formats over HTTP
    scripted      a backend that answers by script (script, script_reading, script_telling)
    assembly      what a call says: prompt, peers, history, message
    provenance    the frames around what others said
    instructions  how an agent without a handler is told to answer
    prompts       what each agent is told, by heart and by hash
    calls         one call of a running handler: budgets reserved, settled, counted (lines, usage)
    facade        ``organism.llm``
    completing    ``complete()``: a call from within a handler
    driving       phloem's own handler of agents without one

Loads no HTTP library until a backend that needs one is opened.
"""
