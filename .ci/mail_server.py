"""A private exim with TLS and AUTH that files every mail in one mailbox."""

import os
import subprocess
import time
from pathlib import Path

USER = "watch"
PASSWORD = "s3cret pass"
# exim wants a user of its own to drop its privileges to; it is told of one without touching the system's list.
UID = 64242

CONFIG = """
exim_path = {exim}
primary_hostname = mail.test
spool_directory = {folder}/spool
log_file_path = {folder}/log_%s
pid_file_path = {folder}/exim.pid
local_interfaces = 127.0.0.1
daemon_smtp_ports = {starttls} : {implicit}
tls_on_connect_ports = {implicit}
tls_advertise_hosts = *
tls_certificate = {folder}/cert.pem
tls_privatekey = {folder}/key.pem
auth_advertise_hosts = ${{if eq{{$tls_in_cipher}}{{}}{{}}{{*}}}}
acl_smtp_rcpt = check_rcpt
acl_smtp_data = accept
never_users =
keep_environment = *
begin acl
check_rcpt:
  deny message = authentication required
       condition = ${{if eq{{$authenticated_id}}{{}}}}
  deny message = no such user
       local_parts = nobody
  accept domains = example.org
  deny message = relay not permitted
begin routers
all:
  driver = accept
  transport = box
begin transports
box:
  driver = appendfile
  file = {folder}/box/mbox
  user = {uid}
  group = {uid}
  envelope_to_add
  batch_max = 10
begin retry
* * F,1m,1s
begin authenticators
plain:
  driver = plaintext
  public_name = PLAIN
  server_advertise_condition = ${{if eq{{$received_port}}{{{starttls}}}}}
  server_prompts = :
  server_condition = ${{if and{{{{eq{{$auth2}}{{{user}}}}}{{eq{{$auth3}}{{{password}}}}}}}}}
  server_set_id = $auth2
login:
  driver = plaintext
  public_name = LOGIN
  server_advertise_condition = ${{if eq{{$received_port}}{{{implicit}}}}}
  server_prompts = Username:: : Password::
  server_condition = ${{if and{{{{eq{{$auth1}}{{{user}}}}}{{eq{{$auth2}}{{{password}}}}}}}}}
  server_set_id = $auth1
"""


class Exim:
    """PLAIN behind STARTTLS on one port, LOGIN behind implicit TLS on the other; nothing without a password."""

    def __init__(self, folder, peers, starttls, implicit):
        self.folder = Path(folder)
        self.box = self.folder / "box" / "mbox"
        exim = Path(peers) / "root/usr/sbin/exim4"
        for name in ("box", "spool"):
            (self.folder / name).mkdir()
        new = ["openssl", "req", "-x509", "-newkey", "rsa:2048", "-nodes", "-days", "2"]
        ca = ["-subj", "/CN=test CA", "-keyout", "ca.key", "-out", "ca.pem"]
        own = ["-subj", "/CN=mail.test", "-CA", "ca.pem", "-CAkey", "ca.key", "-addext", "basicConstraints=CA:FALSE",
               "-addext", "subjectAltName=DNS:localhost,DNS:mail.test", "-keyout", "key.pem", "-out", "cert.pem"]
        for options in (ca, own):
            subprocess.run(new + options, cwd=self.folder, check=True, stderr=subprocess.DEVNULL)
        user, group = f"Debian-exim:x:{UID}:{UID}::/:/bin/false\n", f"Debian-exim:x:{UID}:\n"
        (self.folder / "passwd").write_text(Path("/etc/passwd").read_text() + user)
        (self.folder / "group").write_text(Path("/etc/group").read_text() + group)
        for path in [self.folder, *self.folder.iterdir()]:
            os.chown(path, UID, UID)
        config = self.folder / "exim.conf"
        config.write_text(CONFIG.format(folder=self.folder, exim=exim, starttls=starttls, implicit=implicit,
                                        user=USER, password=PASSWORD, uid=UID))
        libraries = Path(peers) / "root/usr/lib/x86_64-linux-gnu"
        environment = {
            "LD_LIBRARY_PATH": f"{libraries}:{peers}/root/lib/x86_64-linux-gnu",
            "LD_PRELOAD": str(libraries / "libnss_wrapper.so"),
            "NSS_WRAPPER_PASSWD": str(self.folder / "passwd"),
            "NSS_WRAPPER_GROUP": str(self.folder / "group"),
        }
        log = open(self.folder / "out", "w")
        self.process = subprocess.Popen([exim, "-C", config, "-bdf", "-q10s"], env=environment, stdout=log, stderr=log)

    def log(self):
        path = self.folder / "log_main"
        return path.read_text() if path.exists() else ""

    def stop(self):
        self.process.terminate()
        self.process.wait()
        # A delivery may still be under way in a process of its own.
        time.sleep(0.2)
