"""What Parley keeps in Redis, where there is one: nothing that it cannot do without.

connection: how the server is reached, and what its failures are called here
streams: how events get to the service that stores them, and how it says that it did
rates: limits that the processes of a service count together
sign_ins: which sign-ins are over, asked of the user service once for all
holders: which process holds a session, told across machines

Everything here is a copy or a way. The truth stays in the databases, so an emptied or absent Redis
costs time, and nothing else.
"""
