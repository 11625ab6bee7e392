"""A certificate that nobody has signed but itself, made by OpenSSL's program."""

import subprocess

from stage import DEADLINE_S


def certificate(folder, name, *addresses):
    """Makes one for a name and addresses, good for two days; returns its file and its key's."""
    files = folder / "certificate.pem", folder / "key.pem"
    names = ",".join([f"DNS:{name}", *(f"IP:{address}" for address in addresses)])
    subprocess.run(
        ["openssl", "req", "-x509", "-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:P-256", "-nodes"]
        + ["-days", "2", "-subj", f"/CN={name}", "-addext", f"subjectAltName={names}"]
        + ["-out", str(files[0]), "-keyout", str(files[1])],
        check=True,
        capture_output=True,
        timeout=DEADLINE_S,
    )
    return files
