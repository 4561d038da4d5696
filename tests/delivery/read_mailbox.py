"""Reads a mailbox by IMAP, and prints its mails in their order as JSON, as Python's own parser understands them.

    read_mailbox.py COMMAND...

The command is an IMAP server that is logged in already and speaks on its standard input and output, as those do that a
mail program starts by ssh.
"""

import email
import email.policy
import imaplib
import json
import shlex
import sys

with imaplib.IMAP4_stream(shlex.join(sys.argv[1:])) as server:
    _, (count,) = server.select("INBOX", readonly=True)
    # Of an empty mailbox there is no first mail to ask for.
    fetched = server.fetch("1:*", "(BODY.PEEK[])")[1] if int(count) else []

mails = []
# Each mail is a pair, and a bracket that closes it.
for part in fetched:
    if not isinstance(part, tuple):
        continue
    mail = email.message_from_bytes(part[1], policy=email.policy.default)
    defects = [repr(defect) for part in mail.walk() for defect in part.defects]
    assert not defects, defects
    headers = {name.lower(): str(value) for name, value in mail.items()}
    bodies = {part.get_content_subtype(): part.get_content() for part in mail.walk() if not part.is_multipart()}
    mails.append({"headers": headers, "bodies": bodies, "count": len(mail.items())})
json.dump(mails, sys.stdout)
