"""TLS with a certificate of the test's own: HTTP and gRPC, and what is refused without it."""

import datetime
import ipaddress
import os
import signal
import ssl
import threading
import urllib.error
import urllib.request
from pathlib import Path

import numpy as np
import pytest
from serving.conftest import decoded, encoded, make, picture

from sr_lab.base.signals import Stopped
from sr_lab.serving.server import serve

pytest.importorskip("cryptography", reason="needs cryptography: pip install cryptography")


def certificate(folder: Path) -> tuple[Path, Path]:
    """A certificate of 127.0.0.1 that signs itself, and its key."""
    from cryptography import x509
    from cryptography.hazmat.primitives import hashes, serialization
    from cryptography.hazmat.primitives.asymmetric import ec

    key = ec.generate_private_key(ec.SECP256R1())
    name = x509.Name([x509.NameAttribute(x509.NameOID.COMMON_NAME, "127.0.0.1")])
    now = datetime.datetime.now(datetime.UTC)
    made = (
        x509.CertificateBuilder(name, name, key.public_key(), x509.random_serial_number())
        .not_valid_before(now - datetime.timedelta(days=1))
        .not_valid_after(now + datetime.timedelta(days=1))
        .add_extension(x509.SubjectAlternativeName([x509.IPAddress(ipaddress.ip_address("127.0.0.1"))]), False)
        .add_extension(x509.BasicConstraints(ca=True, path_length=None), True)
        .sign(key, hashes.SHA256())
    )
    (folder / "cert.pem").write_bytes(made.public_bytes(serialization.Encoding.PEM))
    encoding = (serialization.PrivateFormat.PKCS8, serialization.NoEncryption())
    (folder / "key.pem").write_bytes(key.private_bytes(serialization.Encoding.PEM, *encoding))
    return folder / "cert.pem", folder / "key.pem"


def by_grpc(address: str, trusted: Path):
    triton = pytest.importorskip("tritonclient.grpc", reason="needs tritonclient and grpcio")
    image = picture(6, 5)
    low = triton.InferInput("low", [1, *image.shape], "UINT8")
    low.set_data_from_numpy(image[None])
    with triton.InferenceServerClient(address, ssl=True, root_certificates=str(trusted)) as client:
        return client.infer("photos", [low]).as_numpy("restored")


def test_a_server_with_a_certificate_speaks_tls_alone(tmp_path):
    cert, key = certificate(tmp_path)
    parts, _ = make()
    addresses, found = [], {}

    def client() -> None:
        try:
            address, port = addresses[0], addresses[1].rpartition(":")[2]
            trusting = ssl.create_default_context(cafile=cert)
            request = urllib.request.Request(f"{address}/v1/restore", encoded(picture(6, 5)), method="POST")
            with urllib.request.urlopen(request, timeout=60, context=trusting) as answer:
                found["http"] = decoded(answer.read())
            for name, other, context in (("untrusted", address, ssl.create_default_context()),
                                         ("plain", address.replace("https", "http"), None)):  # fmt: skip
                try:
                    urllib.request.urlopen(f"{other}/healthz", timeout=60, context=context)
                except (urllib.error.URLError, ConnectionError) as error:
                    found[name] = str(error)
            found["grpc"] = by_grpc(f"127.0.0.1:{port}", cert)
        except BaseException as error:
            found["error"] = error
        finally:
            os.kill(os.getpid(), signal.SIGTERM)

    def started(address: str) -> None:
        addresses.append(address)
        if len(addresses) == 2:
            threading.Thread(target=client).start()

    with pytest.raises(Stopped):
        serve(parts, port=0, grpc_port=0, certificate=cert, private_key=key, started=started)
    if isinstance(found.get("error"), BaseException):
        raise found["error"]
    assert addresses[0].startswith("https://127.0.0.1:")
    assert found["http"].shape == (12, 10, 3)
    np.testing.assert_array_equal(found["grpc"][0], found["http"])
    assert "CERTIFICATE_VERIFY_FAILED" in found["untrusted"]
    assert "plain" in found


def test_half_a_certificate_is_refused(tmp_path):
    parts, _ = make()
    with pytest.raises(ValueError, match="TLS needs both"):
        serve(parts, port=0, certificate=tmp_path / "cert.pem")
    with pytest.raises(OSError, match=r"certificate=.*gone\.pem"):
        serve(parts, port=0, certificate=tmp_path / "gone.pem", private_key=tmp_path / "gone.pem")
    (tmp_path / "bad.pem").write_text("no certificate")
    with pytest.raises(ValueError, match=r"private_key=.*PEM"):
        serve(parts, port=0, certificate=tmp_path / "bad.pem", private_key=tmp_path / "bad.pem")
    parts.service.close()
