"""A GitHub on loopback: what its REST documentation says of issues, comments, releases, their files, and commits of tags.

Written from the documentation, apart from the one that the Rust tests have, so that two readings of it meet in the program. It
forgets everything when it ends.
"""

import hashlib
import http.server
import json
import re
import threading
import urllib.parse

ROUTES = []


def route(method, pattern):
    def add(function):
        ROUTES.append((method, re.compile(re.sub(r"\{(\w+)\}", r"(?P<\1>[^/]+)", pattern) + "$"), function))
        return function

    return add


class NotFound(Exception):
    """404."""


class GitHub:
    def __init__(self):
        self.token, self.reading = "ghs_" + "a1B2" * 9, "ghs_" + "r3aD" * 9
        self.lock = threading.Lock()
        self.issues, self.comments, self.releases, self.assets = {}, {}, {}, {}
        self.commits, self.sources = {}, {}
        self.reads = []
        self.number = 100
        self.server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), type("Handler", (Handler,), {"github": self}))
        self.api = f"http://127.0.0.1:{self.server.server_port}"
        threading.Thread(target=self.server.serve_forever, daemon=True).start()

    def next(self):
        self.number += 1
        return self.number

    def note(self, repo, kind, number, body):
        """A comment or an issue, as a workflow's own token writes it."""
        return {
            "id": self.next(), "body": body, "html_url": f"https://github.com/{repo}/{kind}/{number}",
            "user": {"login": "github-actions[bot]", "type": "Bot"}, "author_association": "NONE",
        }

    def release(self, repo, tag, files=(), commit="c" * 40):
        """Makes a release; files are name and bytes."""
        release = {
            "id": self.next(), "tag_name": tag, "draft": False, "prerelease": False, "target_commitish": commit,
            "html_url": f"https://github.com/{repo}/releases/tag/{tag}", "assets": [],
        }
        release["upload_url"] = f"{self.api}/uploads/repos/{repo}/releases/{release['id']}/assets{{?name,label}}"
        self.releases[repo, release["id"]] = release
        self.commits[repo, tag] = commit
        for name, content in files:
            self.attach(repo, release, name, content)
        return release

    def attach(self, repo, release, name, content):
        asset = {
            "id": self.next(), "name": name, "size": len(content), "state": "uploaded",
            "digest": "sha256:" + hashlib.sha256(content).hexdigest(),
        }
        asset["url"] = f"{self.api}/repos/{repo}/releases/assets/{asset['id']}"
        asset["browser_download_url"] = asset["url"]
        release["assets"].append(asset)
        self.assets[asset["id"]] = content
        return asset


class Handler(http.server.BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"

    def log_message(self, *_):
        pass

    def answer(self, status, content=None, kind="application/json; charset=utf-8", location=None):
        body = content if isinstance(content, bytes) else b"" if content is None else json.dumps(content).encode()
        self.send_response(status)
        self.send_header("Content-Type", kind)
        self.send_header("Content-Length", str(len(body)))
        if location:
            self.send_header("Location", location)
        self.end_headers()
        self.wfile.write(body)

    def handle_request(self):
        url = urllib.parse.urlsplit(self.path)
        query = dict(urllib.parse.parse_qsl(url.query))
        body = self.rfile.read(int(self.headers.get("Content-Length") or 0))
        token = (self.headers.get("Authorization") or "").split(" ")[-1]
        github = self.github
        if token not in ("", github.token, github.reading):
            return self.answer(401, {"message": "Bad credentials"})
        if self.command == "GET":
            github.reads.append(url.path)
        elif token != github.token:
            return self.answer(403 if token else 401, {"message": "Resource not accessible by integration"})
        for method, pattern, function in ROUTES:
            found = pattern.match(urllib.parse.unquote(url.path))
            if method == self.command and found:
                with github.lock:
                    try:
                        answer = function(github, query, body, self.headers, **found.groupdict())
                    except (NotFound, KeyError):
                        break
                return self.answer(*answer)
        return self.answer(404, {"message": "Not Found"})

    do_GET = do_POST = do_PATCH = do_DELETE = handle_request


def page(items, query):
    size, number = int(query.get("per_page", 30)), int(query.get("page", 1))
    return 200, items[(number - 1) * size : number * size]


def issue_of(github, repo, number):
    return github.issues[repo, int(number)]


@route("GET", "/repos/(?P<repo>[^/]+/[^/]+)/issues")
def list_issues(github, query, _body, _headers, repo):
    state = query.get("state", "open")
    found = [issue for (of, _), issue in github.issues.items() if of == repo and state in ("all", issue["state"])]
    return page(found[::-1], query)


@route("POST", "/repos/(?P<repo>[^/]+/[^/]+)/issues")
def open_issue(github, _query, body, _headers, repo):
    given = json.loads(body)
    number = github.next()
    issue = github.note(repo, "issues", number, given.get("body")) | {"number": number, "title": given["title"], "state": "open"}
    github.issues[repo, number] = issue
    return 201, issue


@route("PATCH", "/repos/(?P<repo>[^/]+/[^/]+)/issues/{number}")
def change_issue(github, _query, body, _headers, repo, number):
    issue = issue_of(github, repo, number)
    issue.update({key: value for key, value in json.loads(body).items() if key in ("title", "body", "state", "state_reason")})
    return 200, issue


@route("GET", "/repos/(?P<repo>[^/]+/[^/]+)/issues/{number}/comments")
def list_comments(github, query, _body, _headers, repo, number):
    return page([note for of, note in github.comments.values() if of == (repo, int(number))], query)


@route("POST", "/repos/(?P<repo>[^/]+/[^/]+)/issues/{number}/comments")
def add_comment(github, _query, body, _headers, repo, number):
    note = github.note(repo, "issues", number, json.loads(body)["body"])
    github.comments[note["id"]] = ((repo, int(number)), note)
    return 201, note


@route("PATCH", "/repos/(?P<repo>[^/]+/[^/]+)/issues/comments/{id}")
def change_comment(github, _query, body, _headers, repo, id):
    _, note = github.comments[int(id)]
    note["body"] = json.loads(body)["body"]
    return 200, note


def release_of(github, repo, wanted):
    for (of, id), release in github.releases.items():
        if of == repo and wanted in (release["tag_name"], str(id)):
            return release
    raise NotFound


@route("GET", "/repos/(?P<repo>[^/]+/[^/]+)/releases/tags/(?P<tag>.+)")
def release_by_tag(github, _query, _body, _headers, repo, tag):
    return 200, release_of(github, repo, tag)


@route("GET", r"/repos/(?P<repo>[^/]+/[^/]+)/releases/(?P<id>\d+)")
def release_by_id(github, _query, _body, _headers, repo, id):
    return 200, release_of(github, repo, id)


@route("GET", r"/repos/(?P<repo>[^/]+/[^/]+)/releases/(?P<id>\d+)/assets")
def list_assets(github, query, _body, _headers, repo, id):
    return page(release_of(github, repo, id)["assets"], query)


@route("POST", r"/uploads/repos/(?P<repo>[^/]+/[^/]+)/releases/(?P<id>\d+)/assets")
def upload_asset(github, query, body, _headers, repo, id):
    release = release_of(github, repo, id)
    if any(asset["name"] == query["name"] for asset in release["assets"]):
        return 422, {"message": "Validation Failed", "errors": [{"code": "already_exists", "field": "name"}]}
    return 201, github.attach(repo, release, query["name"], body)


@route("DELETE", "/repos/(?P<repo>[^/]+/[^/]+)/releases/assets/{id}")
def delete_asset(github, _query, _body, _headers, repo, id):
    for (of, _), release in github.releases.items():
        if of == repo:
            release["assets"] = [asset for asset in release["assets"] if asset["id"] != int(id)]
    return 204, None


@route("GET", "/repos/(?P<repo>[^/]+/[^/]+)/releases/assets/{id}")
def asset(github, _query, _body, headers, repo, id):
    content = github.assets[int(id)]
    if headers.get("Accept") == "application/octet-stream":
        return 200, content, "application/octet-stream"
    return 200, {"id": int(id), "size": len(content)}


@route("GET", "/repos/(?P<repo>[^/]+/[^/]+)/commits/(?P<reference>.+)")
def commit(github, _query, _body, headers, repo, reference):
    sha = github.commits[repo, reference]
    if headers.get("Accept") == "application/vnd.github.sha":
        return 200, sha.encode(), "application/vnd.github.sha"
    return 200, {"sha": sha}


@route("GET", "/repos/(?P<repo>[^/]+/[^/]+)/tarball/{reference}")
def tarball(github, _query, _body, _headers, repo, reference):
    sha = github.commits.get((repo, reference), reference)
    github.sources[repo, sha]
    return 302, None, "text/html", f"{github.api}/codeload/{repo}/legacy.tar.gz/{sha}"


@route("GET", "/codeload/(?P<repo>[^/]+/[^/]+)/legacy.tar.gz/{sha}")
def source(github, _query, _body, _headers, repo, sha):
    return 200, github.sources[repo, sha], "application/x-gzip"
