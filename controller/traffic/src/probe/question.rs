//! One question to one address: HTTP, HTTPS, a connection, or gRPC's health service.

use std::io;
use std::net::{IpAddr, SocketAddr};
use std::sync::{Arc, OnceLock};
use std::time::Duration;

use composed_platform::http_client::{Head, send};
use crd_schema::{ComposeDuration, GrpcProbe, HttpProbe, Readiness, Scheme};
use http_body_util::{BodyExt as _, Empty, Full, Limited};
use hyper::body::Bytes;
use hyper::{Request, Response, body::Incoming};
use hyper_util::rt::{TokioExecutor, TokioIo};
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::net::TcpStream;
use tokio::task::AbortHandle;
use tokio::time::timeout;
use tokio_rustls::TlsConnector;
use tokio_rustls::rustls::client::danger::{HandshakeSignatureValid, ServerCertVerified, ServerCertVerifier};
use tokio_rustls::rustls::crypto::{CryptoProvider, ring};
use tokio_rustls::rustls::pki_types::{CertificateDer, ServerName, UnixTime};
use tokio_rustls::rustls::{self, ClientConfig, DigitallySignedStruct, SignatureScheme};

/// The most one question may take, where nothing is given (Kubernetes' `timeoutSeconds`).
pub const TIMEOUT: Duration = Duration::from_secs(1);
/// The most of a head, and of what follows it, that is read.
const HEAD: usize = 16 * 1024;
/// How long the rest of an answer is waited for, so that the connection ends in order: an application that is cut off in
/// the middle of an answer may call that an error.
const TAIL_PATIENCE: Duration = Duration::from_millis(100);
/// SERVING, in `grpc.health.v1.HealthCheckResponse`.
const SERVING: u8 = 1;

/// One question. The error is for people.
pub async fn ask(readiness: &Readiness, address: IpAddr) -> Result<(), String> {
    let limit = readiness.timeout.map_or(TIMEOUT, ComposeDuration::get);
    let question = async {
        match (&readiness.http, &readiness.tcp, &readiness.grpc) {
            (Some(http), ..) => by_http(http, address).await,
            (_, Some(tcp), _) => connect(address, tcp.port).await.map(drop),
            (.., Some(grpc)) => by_grpc(grpc, address).await,
            (None, None, None) => Ok(()),
        }
    };
    timeout(limit, question).await.unwrap_or_else(|_| Err("timed out".to_owned()))
}

async fn connect(address: IpAddr, port: u16) -> Result<TcpStream, String> {
    TcpStream::connect((address, port)).await.map_err(|error| words(&error))
}

async fn by_http(probe: &HttpProbe, address: IpAddr) -> Result<(), String> {
    let usual = if probe.scheme == Some(Scheme::Https) { 443 } else { 80 };
    let at = SocketAddr::new(address, probe.port);
    let own = if probe.port == usual {
        at.to_string().trim_end_matches(&format!(":{usual}")).to_owned()
    } else {
        at.to_string()
    };
    let request = Request::get(&probe.path)
        .header("Host", probe.host.as_deref().unwrap_or(&own))
        .header("User-Agent", concat!("composed-probe/", env!("CARGO_PKG_VERSION")))
        .header("Accept", "*/*")
        .header("Connection", "close")
        .body(Empty::<Bytes>::new())
        .map_err(|_| "its path or host cannot be sent".to_owned())?;
    let stream = connect(address, probe.port).await?;
    let status = if probe.scheme == Some(Scheme::Https) {
        status_over(encrypted(stream, probe.host.as_deref(), address).await?, request).await?
    } else {
        status_over(stream, request).await?
    };
    let wanted = match &probe.status {
        Some(statuses) => statuses.hold(status),
        None => (200..400).contains(&status),
    };
    if wanted { Ok(()) } else { Err(format!("status {status}")) }
}

async fn status_over<S>(stream: S, request: Request<Empty<Bytes>>) -> Result<u16, String>
where
    S: AsyncRead + AsyncWrite + Send + Unpin + 'static,
{
    let head = Head { max: Some(HEAD), title_case: true };
    let (answer, _connection) = send(stream, request, head).await.map_err(|error| why(&error))?;
    let status = answer.status().as_u16();
    drop(timeout(TAIL_PATIENCE, Limited::new(answer.into_body(), HEAD).collect()).await);
    Ok(status)
}

/// gRPC: a POST with a five-byte prefix and `HealthCheckRequest { service = 1 }`; answered with
/// `HealthCheckResponse { status = 1 }` and the gRPC status in the trailers, or in the head if there is no message.
async fn by_grpc(probe: &GrpcProbe, address: IpAddr) -> Result<(), String> {
    let service = probe.service.as_deref().unwrap_or_default().as_bytes();
    let length =
        u8::try_from(service.len()).ok().filter(|length| *length < 128).ok_or("the service's name is too long")?;
    let message = if service.is_empty() { Vec::new() } else { [&[0x0a, length], service].concat() };
    let size = u32::try_from(message.len()).unwrap_or_default().to_be_bytes();
    let body = [&[0], size.as_slice(), &message].concat();
    let request = Request::post(format!("http://{}/grpc.health.v1.Health/Check", SocketAddr::new(address, probe.port)))
        .header("content-type", "application/grpc")
        .header("te", "trailers")
        .header("user-agent", concat!("composed-probe/", env!("CARGO_PKG_VERSION")))
        .body(Full::new(Bytes::from(body)))
        .map_err(|error| error.to_string())?;
    let stream = connect(address, probe.port).await?;
    let (mut sender, connection) = hyper::client::conn::http2::handshake(TokioExecutor::new(), TokioIo::new(stream))
        .await
        .map_err(|error| why(&error))?;
    let _ends_with_this = EndsWithThis(tokio::spawn(connection).abort_handle());
    let answer = sender.send_request(request).await.map_err(|error| why(&error))?;
    grpc_verdict(answer).await
}

async fn grpc_verdict(answer: Response<Incoming>) -> Result<(), String> {
    if answer.status() != 200 {
        return Err(format!("status {}", answer.status().as_u16()));
    }
    let head = answer.headers().clone();
    let body =
        Limited::new(answer.into_body(), HEAD).collect().await.map_err(|error| format!("no gRPC answer: {error}"))?;
    let trailers = body.trailers().cloned().unwrap_or_default();
    let find = |key: &str| trailers.get(key).or(head.get(key)).and_then(|value| value.to_str().ok()).map(str::to_owned);
    match find("grpc-status").as_deref() {
        Some("0") => {}
        Some("5") => return Err("the health service does not know this service".to_owned()),
        Some("12") => return Err("it has no gRPC health service".to_owned()),
        Some(code) => {
            return Err(format!("gRPC status {code} {}", find("grpc-message").unwrap_or_default()).trim().to_owned());
        }
        None => return Err("no gRPC answer".to_owned()),
    }
    // A five-byte prefix, then field 1 as a varint; absent means UNKNOWN.
    let bytes = body.to_bytes();
    match bytes.get(5..7) {
        Some([0x08, SERVING]) => Ok(()),
        Some([0x08, 2]) => Err("NOT_SERVING".to_owned()),
        _ => Err("neither SERVING nor NOT_SERVING".to_owned()),
    }
}

/// A connection's task: it ends with the question, whatever became of that.
struct EndsWithThis(AbortHandle);

impl Drop for EndsWithThis {
    fn drop(&mut self) {
        self.0.abort();
    }
}

async fn encrypted(
    stream: TcpStream,
    host: Option<&str>,
    address: IpAddr,
) -> Result<tokio_rustls::client::TlsStream<TcpStream>, String> {
    static CONFIG: OnceLock<Option<Arc<ClientConfig>>> = OnceLock::new();
    let config = CONFIG.get_or_init(|| {
        let provider = Arc::new(ring::default_provider());
        let builder = ClientConfig::builder_with_provider(Arc::clone(&provider)).with_safe_default_protocol_versions();
        let verifier = Arc::new(AnyCertificate(provider));
        Some(Arc::new(builder.ok()?.dangerous().with_custom_certificate_verifier(verifier).with_no_client_auth()))
    });
    let config = config.clone().ok_or("this build has no TLS")?;
    let name = host.and_then(|host| ServerName::try_from(host.split(':').next()?.to_owned()).ok());
    let name = name.unwrap_or_else(|| ServerName::from(address));
    TlsConnector::from(config).connect(name, stream).await.map_err(|error| format!("TLS: {}", words(&error)))
}

/// The certificate of a replica names a service, and the probe knows an address: it is not checked, as in Kubernetes.
/// Nothing secret is sent, and the answer decides about nothing but readiness.
#[derive(Debug)]
struct AnyCertificate(Arc<CryptoProvider>);

impl ServerCertVerifier for AnyCertificate {
    fn verify_server_cert(
        &self,
        _: &CertificateDer<'_>,
        _: &[CertificateDer<'_>],
        _: &ServerName<'_>,
        _: &[u8],
        _: UnixTime,
    ) -> Result<ServerCertVerified, rustls::Error> {
        Ok(ServerCertVerified::assertion())
    }

    fn verify_tls12_signature(
        &self,
        message: &[u8],
        certificate: &CertificateDer<'_>,
        signed: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, rustls::Error> {
        rustls::crypto::verify_tls12_signature(message, certificate, signed, &self.0.signature_verification_algorithms)
    }

    fn verify_tls13_signature(
        &self,
        message: &[u8],
        certificate: &CertificateDer<'_>,
        signed: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, rustls::Error> {
        rustls::crypto::verify_tls13_signature(message, certificate, signed, &self.0.signature_verification_algorithms)
    }

    fn supported_verify_schemes(&self) -> Vec<SignatureScheme> {
        self.0.signature_verification_algorithms.supported_schemes()
    }
}

/// What a failed exchange means, for people.
fn why(error: &hyper::Error) -> String {
    let mut cause = std::error::Error::source(error);
    while let Some(inner) = cause {
        if let Some(io) = inner.downcast_ref::<io::Error>() {
            return words(io);
        }
        cause = inner.source();
    }
    if error.is_incomplete_message() || error.is_closed() {
        "closed without an answer".to_owned()
    } else if error.is_parse() {
        "no HTTP answer".to_owned()
    } else {
        error.to_string()
    }
}

fn words(error: &io::Error) -> String {
    match error.kind() {
        io::ErrorKind::ConnectionRefused => "connection refused".to_owned(),
        io::ErrorKind::ConnectionReset | io::ErrorKind::BrokenPipe => "connection reset".to_owned(),
        io::ErrorKind::HostUnreachable => "host unreachable".to_owned(),
        io::ErrorKind::NetworkUnreachable => "network unreachable".to_owned(),
        io::ErrorKind::TimedOut => "timed out".to_owned(),
        _ => error.to_string(),
    }
}
