//! Sizes of office documents: pages and rows.

use anyhow::{Context, Result};
use lopdf::{Document, Object};

use super::{Size, Table};

/// The first pages, or all of them over and over; what no page needs is left out.
pub(super) fn pdf(content: &[u8], size: Size) -> Result<Option<Vec<u8>>> {
    let mut document = Document::load_mem(content)?;
    let pages: Vec<_> = document.get_pages().into_values().collect();
    let Some(wanted) = size.pick(&pages) else { return Ok(None) };
    // Each page as an object of its own, with its own text, all below a root of their own.
    let root = document.new_object_id();
    let mut kids = Vec::new();
    for page in wanted {
        let mut copy = document.get_dictionary(page)?.clone();
        for inherited in [&b"Resources"[..], b"MediaBox"] {
            if !copy.has(inherited)
                && let Ok(value) = inherit(&document, page, inherited)
            {
                copy.set(inherited, value);
            }
        }
        let texts: Vec<_> =
            document.get_page_contents(page).iter().filter_map(|id| document.objects.get(id).cloned()).collect();
        let texts = texts.into_iter().map(|text| Object::Reference(document.add_object(text)));
        copy.set("Contents", Object::Array(texts.collect()));
        copy.set("Parent", Object::Reference(root));
        kids.push(Object::Reference(document.add_object(copy)));
    }
    let pages = lopdf::dictionary! { "Type" => "Pages", "Count" => i64::try_from(kids.len())?, "Kids" => kids };
    document.objects.insert(root, Object::Dictionary(pages));
    document.catalog_mut()?.set("Pages", Object::Reference(root));
    document.catalog_mut()?.remove(b"Outlines");
    document.catalog_mut()?.remove(b"Dests");
    document.catalog_mut()?.remove(b"Names");
    document.catalog_mut()?.remove(b"StructTreeRoot");
    document.prune_objects();
    let mut out = Vec::new();
    document.save_to(&mut out)?;
    Ok(Some(out))
}

fn inherit(document: &Document, page: lopdf::ObjectId, key: &[u8]) -> Result<Object> {
    let mut at = page;
    for _ in 0..16 {
        at = document.get_dictionary(at)?.get(b"Parent")?.as_reference()?;
        if let Ok(value) = document.get_dictionary(at)?.get(key) {
            return Ok(value.clone());
        }
    }
    None.context("not inherited")
}

pub(super) fn xlsx(content: &[u8], size: Size) -> Result<Option<Vec<u8>>> {
    let rows = Table::of_xlsx(content)?;
    let Some(rows) = size.pick(&rows) else { return Ok(None) };
    let width = rows.iter().map(Vec::len).max().unwrap_or(0);
    Table::of(width, &rows, |row, at| row.get(at).map_or("", String::as_str)).xlsx().map(Some)
}
