//! Refusals that PostgreSQL's clients show to their users.

use std::io;

use tokio::io::{AsyncWrite, AsyncWriteExt};

use crate::{balance::Unavailable, proxy::http::fault::Fault};

/// Why there will be no session.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum SessionRefusal {
    Unencrypted,
    Unavailable(Fault),
}

impl SessionRefusal {
    /// <https://www.postgresql.org/docs/18/errcodes-appendix.html>.
    fn code(self) -> &'static str {
        match self {
            // invalid_authorization_specification, as servers say where only `hostssl` matches.
            Self::Unencrypted => "28000",
            // too_many_connections
            Self::Unavailable(
                Fault::Unavailable(Unavailable::Full)
                | Fault::ServiceFull
                | Fault::QueueFull
                | Fault::QueueTimeout,
            ) => "53300",
            // cannot_connect_now
            Self::Unavailable(_) => "57P03",
        }
    }

    fn text(self) -> String {
        match self {
            Self::Unencrypted => {
                "this port takes only encrypted connections: use sslmode=require".into()
            }
            Self::Unavailable(fault) => fault.to_string(),
        }
    }

    /// ErrorResponse.
    fn message(self) -> Vec<u8> {
        let text = self.text();
        let fields = [('S', "FATAL"), ('V', "FATAL"), ('C', self.code()), ('M', &text)];
        let fields: String = fields.map(|(kind, value)| format!("{kind}{value}\0")).concat();
        let length = (4 + fields.len() + 1) as u32;
        [b"E", &length.to_be_bytes()[..], fields.as_bytes(), b"\0"].concat()
    }
}

/// Says so and ends the stream.
pub(crate) async fn refuse<S>(stream: &mut S, refusal: SessionRefusal) -> io::Result<()>
where
    S: AsyncWrite + Unpin,
{
    stream.write_all(&refusal.message()).await?;
    stream.flush().await?;
    // In order, whatever its other end thinks of it.
    let _ = stream.shutdown().await;
    Ok(())
}
