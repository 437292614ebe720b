"""The canary: members whose every trace can be told from all else go through the whole system, and then are looked for.

members      who they are, what the company's topics say of them
encodings    the byte strings that would give one of them away
search       finds such strings in bytes: any number of them, at any offset, in one pass
segments     what lies in a broker's data folder, record batches decompressed
places       what else there is to search: files, records as a subscriber reads them, processes
crashing     a role that fails with members' data in its hands
run          from first to last; the table that it ends with
"""
