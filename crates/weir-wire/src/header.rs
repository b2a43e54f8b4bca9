//! What stands in front of every request and response.

use crate::api::ApiKey;
use crate::error::WireError;
use crate::field::{Field, Version};
use crate::message::Message;
use crate::reader::Reader;
use crate::text::Text;
use crate::writer::Writer;
use bytes::Bytes;

/// The header of a request, versions 1 and 2. The API is a number here, so that an unknown one can be reported.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct RequestHeader {
    /// Number of the API, see [`ApiKey`].
    pub api_key: i16,
    /// Version of the request.
    pub api_version: i16,
    /// Comes back with the response.
    pub correlation_id: i32,
    /// What the client calls itself.
    pub client_id: Option<Text>,
}

/// The header's own strings have a length of two bytes, in flexible versions too.
const FIXED: Version = Version { number: 1, flexible: false };

/// Reads the header of a request and leaves the reader at its body.
///
/// The header of an API that is not known is read as version 1. A version beyond those we know is taken to have the header
/// of the newest, so that an ApiVersions request from the future can be answered.
///
/// # Errors
/// Where the bytes are no header.
pub fn read_request_header(reader: &mut Reader) -> Result<RequestHeader, WireError> {
    let header = RequestHeader {
        api_key: reader.i16().map_err(|error| error.within("request_api_key"))?,
        api_version: reader.i16().map_err(|error| error.within("request_api_version"))?,
        correlation_id: reader.i32().map_err(|error| error.within("correlation_id"))?,
        client_id: Field::take(reader, FIXED).map_err(|error| error.within("client_id"))?,
    };
    let key = ApiKey::try_from(header.api_key);
    if key.is_ok_and(|key| request_header_version(key, header.api_version) == 2) {
        reader.tagged(&mut |_, _| Ok(false))?;
    }
    Ok(header)
}

/// Writes the header of a request.
///
/// # Errors
/// Where the client id is longer than 32,767 bytes.
pub fn write_request_header(header: &RequestHeader, writer: &mut Writer) -> Result<(), WireError> {
    writer.i16(header.api_key);
    writer.i16(header.api_version);
    writer.i32(header.correlation_id);
    header.client_id.put(writer, FIXED).map_err(|error| error.within("client_id"))?;
    if ApiKey::try_from(header.api_key).is_ok_and(|key| request_header_version(key, header.api_version) == 2) {
        writer.uvarint(0);
    }
    Ok(())
}

/// Reads the header of a response and gives its correlation id.
///
/// # Errors
/// Where the bytes are no header.
pub fn read_response_header(reader: &mut Reader, key: ApiKey, version: i16) -> Result<i32, WireError> {
    let correlation_id = reader.i32().map_err(|error| error.within("correlation_id"))?;
    if response_header_version(key, version) == 1 {
        reader.tagged(&mut |_, _| Ok(false))?;
    }
    Ok(correlation_id)
}

/// Writes the header of a response.
pub fn write_response_header(correlation_id: i32, writer: &mut Writer, key: ApiKey, version: i16) {
    writer.i32(correlation_id);
    if response_header_version(key, version) == 1 {
        writer.uvarint(0);
    }
}

/// 2 (with tagged fields) for a flexible version of a request, 1 for others.
pub fn request_header_version(key: ApiKey, version: i16) -> i16 {
    if version >= key.flexible() { 2 } else { 1 }
}

/// 1 (with tagged fields) for a flexible version of a response, 0 for others, and 0 for ApiVersions always: its reader
/// may not know what the version it asked for looks like (KIP-511).
pub fn response_header_version(key: ApiKey, version: i16) -> i16 {
    if version >= key.flexible() && key != ApiKey::ApiVersions { 1 } else { 0 }
}

/// A whole request: length, header, body.
///
/// # Errors
/// Where the version cannot carry the message, or the frame is larger than 2 GiB.
pub fn request_frame<M: Message>(
    body: &M,
    version: i16,
    correlation_id: i32,
    client_id: Option<&Text>,
) -> Result<Vec<Bytes>, WireError> {
    let mut writer = Writer::framed();
    let (api_key, client_id) = (M::KEY.number(), client_id.cloned());
    write_request_header(&RequestHeader { api_key, api_version: version, correlation_id, client_id }, &mut writer)?;
    body.write(&mut writer, version)?;
    writer.finish()
}

/// A whole response: length, header, body.
///
/// # Errors
/// As [`request_frame`].
pub fn response_frame<M: Message>(body: &M, version: i16, correlation_id: i32) -> Result<Vec<Bytes>, WireError> {
    let mut writer = Writer::framed();
    write_response_header(correlation_id, &mut writer, M::KEY, version);
    body.write(&mut writer, version)?;
    writer.finish()
}
