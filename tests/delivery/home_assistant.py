"""Runs Home Assistant in a directory, set up as after its first use: one user, and the MQTT integration.

    home_assistant.py DIRECTORY PORT BROKER_PORT USER PASSWORD

Prints an access token for its REST API before it becomes Home Assistant.
"""

import datetime
import json
import os
import secrets
import sys
import uuid

import jwt

directory, port, broker_port, user, password = sys.argv[1:]
storage = os.path.join(directory, ".storage")
os.makedirs(storage, exist_ok=True)


def store(key, data, version=1, minor=1):
    with open(os.path.join(storage, key), "w", encoding="utf-8") as file:
        json.dump({"version": version, "minor_version": minor, "key": key, "data": data}, file)


owner, refresh = uuid.uuid4().hex, uuid.uuid4().hex
now = datetime.datetime.now(datetime.timezone.utc)
jwt_key = secrets.token_hex(64)
store(
    "auth",
    {
        "users": [
            {
                "id": owner,
                "group_ids": ["system-admin"],
                "is_owner": True,
                "is_active": True,
                "name": "Owner",
                "system_generated": False,
                "local_only": False,
            }
        ],
        "groups": [
            {"id": "system-admin", "name": "Administrators"},
            {"id": "system-users", "name": "Users"},
            {"id": "system-read-only", "name": "Read Only"},
        ],
        "credentials": [],
        "refresh_tokens": [
            {
                "id": refresh,
                "user_id": owner,
                "client_id": None,
                "client_name": "test",
                "client_icon": None,
                "token_type": "long_lived_access_token",
                "created_at": now.isoformat(),
                "access_token_expiration": 10 * 365 * 86400.0,
                "token": secrets.token_hex(64),
                "jwt_key": jwt_key,
                "last_used_at": None,
                "last_used_ip": None,
                "expire_at": None,
                "credential_id": None,
                "version": "2025.1.0",
            }
        ],
    },
)
store("onboarding", {"done": ["user", "core_config", "analytics", "integration"]}, version=4)
store(
    "core.config_entries",
    {
        "entries": [
            {
                "entry_id": uuid.uuid4().hex,
                "version": 1,
                "domain": "mqtt",
                "title": "broker",
                "data": {
                    "broker": "127.0.0.1",
                    "port": int(broker_port),
                    "username": user,
                    "password": password,
                    "discovery": True,
                },
                "options": {},
                "pref_disable_new_entities": False,
                "pref_disable_polling": False,
                "source": "user",
                "unique_id": None,
                "disabled_by": None,
            }
        ]
    },
)
with open(os.path.join(directory, "configuration.yaml"), "w", encoding="utf-8") as file:
    file.write(f"http:\n  server_host: 127.0.0.1\n  server_port: {port}\napi:\nfrontend:\nlogger:\n  default: warning\n")
token = jwt.encode({"iss": refresh, "iat": now, "exp": now + datetime.timedelta(days=3650)}, jwt_key, algorithm="HS256")
print(token, flush=True)
hass = os.path.join(os.path.dirname(sys.executable), "hass")
os.execv(hass, [hass, "--config", directory, "--skip-pip"])
