//! The services, pools and certificates of a file, as objects like those of the API.

use serde_json::Value as Json;
use toml::de::{DeTable, DeValue};

use super::{
    document,
    join::FileText,
    text::{reader::Report, texts::Texts},
};
use crate::objects::{Body, Kind, ObjectId};

/// An object that the file has.
#[derive(Clone, Debug, PartialEq)]
pub struct FileObject {
    pub id: ObjectId,
    pub body: Body,
    /// File, line and column.
    pub place: String,
}

/// Returns the objects of a valid file, in its order. A certificate is named by its path.
#[must_use]
pub fn file_objects(file: &FileText) -> Vec<FileObject> {
    let texts = Texts::file(&file.path, &file.text);
    let root = document::root(texts.text(), &Report::default());
    let Some(tables) = root.as_ref().and_then(|root| root.get_ref().as_table()) else {
        return Vec::new();
    };
    let object = |kind, name: String, body: &DeTable<'_>, at: usize| FileObject {
        id: ObjectId::new(kind, name),
        body: members(body),
        place: texts.place(&(at..at)).to_string(),
    };
    let listed = |kind: Kind| {
        let list = tables.get(kind.name()).and_then(|it| it.get_ref().as_array());
        let items = list.into_iter().flat_map(|list| list.iter());
        items.filter_map(move |item| {
            let body = item.get_ref().as_table()?;
            let named = ["name", "cert", "directory"].iter().find_map(|key| body.get(*key));
            let name = named?.get_ref().as_str()?.to_owned();
            Some(object(kind, name, body, item.span().start))
        })
    };
    let pools = tables.get(Kind::Pools.name()).and_then(|it| it.get_ref().as_table());
    let pools = pools.into_iter().flatten().filter_map(|(name, pool)| {
        let body = pool.get_ref().as_table()?;
        Some(object(Kind::Pools, name.get_ref().to_string(), body, name.span().start))
    });
    listed(Kind::Services).chain(pools).chain(listed(Kind::Certificates)).collect()
}

fn members(table: &DeTable<'_>) -> Body {
    let members =
        table.iter().map(|(key, value)| (key.get_ref().to_string(), json(value.get_ref())));
    members.collect()
}

fn json(value: &DeValue<'_>) -> Json {
    match value {
        DeValue::String(text) => text.to_string().into(),
        DeValue::Boolean(value) => (*value).into(),
        DeValue::Integer(number) => {
            let number = i64::from_str_radix(number.as_str(), number.radix());
            number.map_or(Json::Null, Json::from)
        }
        DeValue::Float(number) => number.as_str().parse::<f64>().map_or(Json::Null, Json::from),
        DeValue::Datetime(time) => time.to_string().into(),
        DeValue::Array(items) => items.iter().map(|item| json(item.get_ref())).collect(),
        DeValue::Table(table) => Json::Object(members(table)),
    }
}
