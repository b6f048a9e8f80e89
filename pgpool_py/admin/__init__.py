"""The admin console: the virtual database `pgbouncer`. Start at commands.py, the table of what may be said, and by whom.

Served by coroutines of the control plane, in the simple and the extended protocol. It looks at pools and connections through
`world.World` and acts on them through `world.Orders`; what an order means is the application's.
"""
