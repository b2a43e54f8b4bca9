"""The cases of confluent-kafka for Python against one broker.

usage: python conformance/clients/python <bootstrap> [word in a case's name]...
"""

import sys

import admin  # noqa: F401
import groups  # noqa: F401
import records  # noqa: F401
import transactions
import suite

if sys.argv[1] == "--die-in-transaction":
    transactions.die_in_transaction(*sys.argv[2:])
elif sys.argv[1] == "--member":
    groups.member(*sys.argv[2:])
else:
    suite.run("python", sys.argv[1], sys.argv[2:])
