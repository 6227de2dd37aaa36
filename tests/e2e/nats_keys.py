"""The keys of a NATS K/V bucket, as `nats kv ls` lists them: one request to the server, without a client's library.

Source: NATS documentation, "Client protocol"; JetStream API, `STREAM.INFO` with `subjects_filter`.
"""
import json
import socket
import urllib.parse


def keys(url, bucket):
    found = urllib.parse.urlsplit(url)
    with socket.create_connection((found.hostname, found.port or 4222), 10) as connection:
        lines = connection.makefile("rwb")
        lines.readline()
        request = json.dumps({"subjects_filter": ">"})
        lines.write(b'CONNECT {"verbose": false, "pedantic": false, "name": "keys", "lang": "python", "version": "1"}\r\nSUB answer 1\r\n')
        lines.write(f"PUB $JS.API.STREAM.INFO.KV_{bucket} answer {len(request)}\r\n{request}\r\n".encode())
        lines.flush()
        while True:
            words = lines.readline().split()
            if words[:1] == [b"PING"]:
                lines.write(b"PONG\r\n")
                lines.flush()
            elif words[:1] == [b"MSG"]:
                answer = json.loads(lines.read(int(words[-1])))
                subjects = answer["state"].get("subjects") or {}
                return sorted(subject.removeprefix(f"$KV.{bucket}.") for subject in subjects)
            elif not words or words[0].startswith(b"-ERR"):
                raise OSError(f"NATS refused: {words}")
