"""A small stand-in for wandb's server: what a run needs to be told, resumed and read back.

Written from what wandb-core sends. It keeps what a real server would show: for each run its group,
job type, tags, config, history lines by offset, summary, state, and artifacts by name and digest.
"""

import json
import re
import threading
from contextlib import contextmanager
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

ENTITY = "lab"


@dataclass
class Told:
    """One run, as the server knows it."""

    fields: dict = field(default_factory=dict)
    config: dict = field(default_factory=dict)
    lines: dict = field(default_factory=dict)
    summary: dict = field(default_factory=dict)
    exits: list = field(default_factory=list)
    files: set = field(default_factory=set)
    sessions: int = 0

    @property
    def history(self):
        return [self.lines[offset] for offset in sorted(self.lines)]


class Server:
    """Answers on a port of this machine; `broken` names what it answers with an error."""

    def __init__(self):
        self.runs, self.artifacts, self.asked, self.views = {}, {}, [], []
        self.paths: list[str] = []
        self.broken: set[str] = set()
        handler = type("Handler", (Handler,), {"server_state": self})
        self.http = ThreadingHTTPServer(("127.0.0.1", 0), handler)
        self.http.daemon_threads = True
        self.url = f"http://127.0.0.1:{self.http.server_address[1]}"

    def answer(self, operation, given):
        self.asked.append(operation)
        reply = getattr(self, f"on_{operation}", None)
        return reply(given) if reply else {}

    def run(self, name):
        return self.runs.setdefault(name, Told())

    def on_Viewer(self, given):
        nobody = {"edges": []}
        return {
            "viewer": {
                "id": "u1",
                "entity": ENTITY,
                "username": "me",
                "email": "",
                "flags": "{}",
                "teams": nobody,
            }
        }

    def on_RunResumeStatus(self, given):
        if given["name"] not in self.runs:
            return {"model": None}
        run = self.runs[given["name"]]
        tail = [json.dumps(line) for line in run.history[-1:]]
        bucket = {
            "id": given["name"],
            "name": given["name"],
            "summaryMetrics": json.dumps(run.summary),
            "displayName": given["name"],
            "logLineCount": 0,
            "historyLineCount": len(run.lines),
            "eventsLineCount": 0,
            "historyTail": json.dumps(tail),
            "eventsTail": "[]",
            "config": json.dumps({key: {"value": value} for key, value in run.config.items()}),
            "tags": run.fields.get("tags") or [],
            "notes": None,
            "wandbConfig": json.dumps({"t": run.config["_wandb"]["t"]}),
        }
        return {"model": {**self.project(given["project"]), "bucket": bucket}}

    def on_UpsertBucket(self, given):
        name = given["name"]
        inserted = name not in self.runs
        run = self.run(name)
        run.fields |= {key: value for key, value in given.items() if value is not None}
        config = json.loads(given["config"] or "{}")
        run.config |= {key: item["value"] for key, item in config.items()}
        bucket = {
            "id": name,
            "name": name,
            "displayName": name,
            "description": None,
            "config": json.dumps(config),
            "sweepName": None,
            "historyLineCount": len(run.lines),
            "project": self.project(given["project"]),
        }
        return {"upsertBucket": {"bucket": bucket, "inserted": inserted}}

    @staticmethod
    def project(name):
        return {"id": "p1", "name": name, "entity": {"id": "e1", "name": ENTITY}}

    def on_CreateRunFiles(self, given):
        self.run(given["run"]).files |= set(given["files"])
        files = [{"name": name, "uploadUrl": f"{self.url}/upload/x"} for name in given["files"]]
        return {"createRunFiles": {"runID": given["run"], "uploadHeaders": [], "files": files}}

    def on_GetDefaultEntity(self, given):
        return self.on_Viewer(given)

    def on_UpsertView2(self, given):
        self.views.append(given | {"spec": json.loads(given["spec"])})
        return {"upsertView": {"view": {"id": "v1", "name": given["name"]}, "inserted": True}}

    def on_Run(self, given):
        return {"project": {"internalId": "1", "run": self.about(given["name"])}}

    def on_Runs(self, given):
        edges = [{"node": self.about(name), "cursor": name} for name in self.runs]
        page = {"endCursor": None, "hasNextPage": False}
        runs = {"edges": edges, "pageInfo": page}
        found = {"internalId": "1", "runCount": len(edges), "readOnly": False, "runs": runs}
        return {"project": found}

    def about(self, name):
        run = self.runs[name]
        return {
            "id": name,
            "tags": run.fields.get("tags") or [],
            "name": name,
            "displayName": name,
            "sweepName": None,
            "state": "finished" if run.exits else "running",
            "config": json.dumps({key: {"value": value} for key, value in run.config.items()}),
            "group": run.fields.get("groupName"),
            "jobType": run.fields.get("jobType"),
            "summaryMetrics": json.dumps(run.summary),
            "systemMetrics": "{}",
            "historyLineCount": len(run.lines),
            "historyKeys": self.keys(run),
            "readOnly": False,
            "user": {"name": "me", "username": "me"},
            "projectId": "1",
        }

    def on_RunHistoryKeys(self, given):
        return {"project": {"run": {"historyKeys": self.keys(self.runs[given["name"]])}}}

    def on_RunParquetHistory(self, given):
        run = self.runs[given["runName"]]
        live = [{key: line.get(key) for key in given["liveKeys"]} for line in run.history]
        history = {"parquetUrls": [], "liveData": live}
        return {"project": {"run": {"parquetHistory": history}}}

    def on_HistoryPage(self, given):
        lines = [
            json.dumps(line)
            for line in self.runs[given["run"]].history
            if given["minStep"] <= line["_step"] < given["maxStep"]
        ]
        return {"project": {"run": {"history": lines}}}

    @staticmethod
    def keys(run):
        return {"lastStep": max([line["_step"] for line in run.history], default=-1), "keys": {}}

    def on_ArtifactType(self, given):
        return {"project": {"artifact": None}}

    def on_CreateArtifact(self, given):
        said = given["input"]
        name = said["artifactCollectionName"]
        digests = self.artifacts.setdefault(name, [])
        state = "COMMITTED" if said["digest"] in digests else "PENDING"
        if state == "PENDING":
            digests.append(said["digest"])
        made = {"id": f"{name}|{digests.index(said['digest'])}", "state": state}
        made |= {"artifactSequence": {"id": "s1", "latestArtifact": None}}
        return {"createArtifact": {"artifact": made}}

    def on_ArtifactByID(self, given):
        name, version = given["id"].split("|")
        project = self.project("leadline") | {"internalId": "1"}
        said = {
            "id": given["id"],
            "artifactSequence": {"name": name, "project": project},
            "versionIndex": int(version),
            "artifactType": {"name": "predictions"},
            "ttlDurationSeconds": -1,
            "ttlIsInherited": False,
            "tags": [],
            "state": "COMMITTED",
            "size": 1,
            "digest": self.artifacts[name][int(version)],
            "fileCount": 1,
            "createdAt": "2026-11-21T00:00:00",
        }
        unknown = ("description", "metadata", "historyStep", "commitHash", "updatedAt")
        return {"artifact": dict.fromkeys(unknown) | said}

    def on_CreateArtifactManifest(self, given):
        file = {"id": "f", "uploadUrl": f"{self.url}/upload/x", "uploadHeaders": []}
        return {"createArtifactManifest": {"artifactManifest": {"id": "m", "file": file}}}

    def on_CreateArtifactFiles(self, given):
        specs = given["input"]["artifactFiles"]
        edges = [
            {
                "node": {
                    "uploadUrl": f"{self.url}/upload/x",
                    "uploadHeaders": [],
                    "storagePath": "x",
                    "uploadMultipartUrls": None,
                    "artifact": {"id": spec["artifactID"]},
                }
            }
            for spec in specs
        ]
        return {"createArtifactFiles": {"files": {"edges": edges}}}

    def on_CommitArtifact(self, given):
        return {"commitArtifact": {"artifact": {"id": given["artifactID"], "digest": ""}}}

    def stream(self, name, said):
        run = self.run(name)
        for file, chunk in (said.get("files") or {}).items():
            lines = [json.loads(line) for line in chunk["content"]]
            if file == "wandb-history.jsonl":
                run.lines |= {chunk["offset"] + i: line for i, line in enumerate(lines)}
            elif file == "wandb-summary.json":
                run.summary = lines[-1]
        if said.get("complete"):
            run.exits.append(said.get("exitcode"))
        return {}


class Handler(BaseHTTPRequestHandler):
    server_state: Server

    def log_message(self, *_):
        pass

    def do_POST(self):
        body = self.rfile.read(int(self.headers.get("content-length") or 0))
        state = self.server_state
        state.paths.append(self.path)
        if self.path == "/graphql":
            said = json.loads(body)
            operation = re.search(r"(?:query|mutation)\s+(\w+)", said["query"])[1]
            if operation in state.broken:
                return self.reply({"error": "broken"}, 400)
            return self.reply({"data": state.answer(operation, said.get("variables") or {})})
        if self.path.endswith("/file_stream"):
            if "file_stream" in state.broken:
                return self.reply({"error": "broken"}, 404)
            return self.reply(state.stream(self.path.split("/")[-2], json.loads(body)))
        return self.reply({})

    do_PUT = do_POST
    do_GET = do_POST

    def reply(self, content, status=200):
        body = json.dumps(content).encode()
        self.send_response(status)
        self.send_header("content-type", "application/json")
        self.send_header("content-length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)


@contextmanager
def serving():
    """Serve for as long as this lasts."""
    server = Server()
    thread = threading.Thread(target=server.http.serve_forever, kwargs={"poll_interval": 0.05})
    thread.start()
    try:
        yield server
    finally:
        server.http.shutdown()
        thread.join()
        server.http.server_close()
