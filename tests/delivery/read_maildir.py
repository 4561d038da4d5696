"""Prints the mails of a Maildir as JSON, as Python's own parser understands them."""

import email
import email.policy
import json
import pathlib
import sys

mails = []
for folder in ("new", "cur"):
    for path in sorted((pathlib.Path(sys.argv[1]) / folder).glob("*")):
        mail = email.message_from_bytes(path.read_bytes(), policy=email.policy.default)
        defects = [repr(defect) for part in mail.walk() for defect in part.defects]
        assert not defects, defects
        headers = {name.lower(): str(value) for name, value in mail.items()}
        bodies = {part.get_content_subtype(): part.get_content() for part in mail.walk() if not part.is_multipart()}
        mails.append({"headers": headers, "bodies": bodies, "count": len(mail.items())})
json.dump(mails, sys.stdout)
