"""The data contracts: one module for each table, its suite declared as code.

A check's severity says what follows when it fails:

    reject   the rows that fail go to quarantine with the check's name as a reason
    stop     the load is refused: nothing downstream sees it
    warn     the report says so
"""
