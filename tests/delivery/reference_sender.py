"""Sends one notification to each kind of receiver, all of them at one address: what ours are compared with."""

import sys

import apprise
from apprise.plugins.discord import NotifyDiscord
from apprise.plugins.slack import NotifySlack

address = sys.argv[1]
NotifySlack.webhook_url = f"http://{address}/services"
NotifyDiscord.notify_url = f"http://{address}/api/webhooks"
for url in [
    f"ntfy://tk_s3cret@{address}/topic?auth=token&priority=high",
    f"gotify://{address}/tk_s3cret?priority=high",
    "slack://T1JJ3T3L2/A1BRTD4JD/TIiajkdnlazkcOXrIdevi7FQ/",
    "discord://4174216298/JHMHI8qBe7bk2ZwO5U711o3dV_js/?footer=no",
]:
    sender = apprise.Apprise()
    assert sender.add(url), url
    assert sender.notify(title="portscan: test", body="A test."), url
