"""A MariaDB server of the test's own: no root, no network but 127.0.0.1, everything in one folder."""

import os
import socket
import subprocess
import time
from pathlib import Path

from harness.execd import BUILD

HOME = BUILD / "deps" / "mariadb"
SYSTEM = ("mariadb_system_tables.sql", "mysql_system_tables.sql")
DATA = ("mariadb_system_tables_data.sql", "mysql_system_tables_data.sql")
PASSWORD = "pass:w@rd/ü%"


def is_there():
    return (HOME / "mariadbd").exists()


def free_port():
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        return taken.getsockname()[1]


class MariaDB:
    """`user` has PASSWORD and every right; `root` has none."""

    def __init__(self, folder):
        self.folder = Path(folder)
        self.data = self.folder / "data"
        self.socket = self.folder / "mariadb.sock"
        self.log = self.folder / "log"
        self.port = free_port()
        self.process = None
        self.data.mkdir(parents=True)
        self._bootstrap()
        self.start()

    def _command(self, *options):
        share = HOME / "mysql"
        return [str(HOME / "mariadbd"), "--no-defaults", f"--datadir={self.data}", f"--lc-messages-dir={share}",
                f"--character-sets-dir={share}/charsets", "--user=root", "--innodb-buffer-pool-size=8M",
                "--innodb-log-file-size=4M", "--innodb-flush-log-at-trx-commit=0", "--key-buffer-size=1M",
                "--performance-schema=OFF", "--max-allowed-packet=64M", "--aria-pagecache-buffer-size=1M", f"--tmpdir={self.folder}", *options]

    def _environment(self):
        return {"PATH": os.environ["PATH"], "LD_LIBRARY_PATH": str(HOME / "lib")}

    def _bootstrap(self):
        def first_of(names):
            return next((HOME / "mysql" / name).read_text(errors="replace") for name in names
                        if (HOME / "mysql" / name).exists())

        quoted = PASSWORD.replace("'", "''")
        script = "\n".join([
            "CREATE DATABASE mysql;", "USE mysql;", "SET @auth_root_socket=NULL;", first_of(SYSTEM), first_of(DATA),
            "FLUSH PRIVILEGES;", f"CREATE USER user@'%' IDENTIFIED BY '{quoted}';",
            "GRANT ALL ON *.* TO user@'%';", f"CREATE USER user@localhost IDENTIFIED BY '{quoted}';",
            "GRANT ALL ON *.* TO user@localhost;", ""])
        with open(self.log, "w") as log:
            done = subprocess.run(self._command("--bootstrap", "--skip-networking"), input=script, text=True,
                                  stdout=log, stderr=log, timeout=60, env=self._environment())
        assert done.returncode == 0, self.log.read_text()

    def start(self):
        with open(self.log, "a") as log:
            self.process = subprocess.Popen(
                self._command(f"--socket={self.socket}", f"--port={self.port}", "--bind-address=127.0.0.1",
                              f"--pid-file={self.folder}/pid"),
                stdout=log, stderr=log, stdin=subprocess.DEVNULL, env=self._environment())
        deadline = time.monotonic() + 30
        while True:
            try:
                socket.create_connection(("127.0.0.1", self.port), 1).close()
                return
            except OSError:
                assert self.process.poll() is None and time.monotonic() < deadline, self.log.read_text()
                time.sleep(0.02)

    def kill(self):
        self.process.kill()
        self.process.wait(20)

    def stop(self):
        if self.process and self.process.poll() is None:
            self.process.terminate()
            self.process.wait(30)
