#!/usr/bin/python3
# SPDX-License-Identifier: Apache-2.0
"""What a guest's network device talks to: usage: net_peer.py ADDRESS BYTES

Port 5001 sends BYTES random bytes to whoever connects, port 5002 takes what comes; each prints the
SHA-256 of its bytes: "peer sent SUM", "peer got SUM". Ends with its standard input.
"""
import hashlib
import os
import socket
import sys
import threading

data = os.urandom(int(sys.argv[2]))
digest = hashlib.sha256(data).hexdigest()


def send(connection):
    connection.sendall(data)
    print("peer sent", digest, flush=True)


def take(connection):
    got = hashlib.sha256()
    while piece := connection.recv(1 << 20):
        got.update(piece)
    print("peer got", got.hexdigest(), flush=True)


def serve(port, what):
    with socket.create_server((sys.argv[1], port)) as server:
        ready.release()
        while True:
            connection, _ = server.accept()
            with connection:
                what(connection)


ready = threading.Semaphore(0)
for port, what in (5001, send), (5002, take):
    threading.Thread(target=serve, args=(port, what), daemon=True).start()
    ready.acquire()
print("peer ready", flush=True)
sys.stdin.read()
