//! A Parquet schema's depth and columns, by the nesting that readers make of it.
//!
//! A list is three nodes deep (or two, in old files) and a map three; each is one level to whoever reads the rows.

use super::super::thrift::{STRUCT, Thrift};

/// Nodes within nodes.
const MOST_DEPTH: u32 = 256;

#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
enum Annotation {
    #[default]
    None,
    List,
    Map,
}

/// A node of the schema, which is written depth first.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct Element {
    children: u32,
    repeated: bool,
    annotation: Annotation,
    /// Named as the repeated struct of an old list is: `array` or `…_tuple`.
    tuple: bool,
}

impl Element {
    pub(super) fn read(thrift: &mut Thrift<'_>) -> Option<Self> {
        let mut element = Self::default();
        thrift.fields(|thrift, id, kind| {
            match (id, kind) {
                (3, 5) => element.repeated = thrift.integer()? == 2,
                (4, 8) => {
                    let name = thrift.binary()?;
                    element.tuple = name == b"array" || name.ends_with(b"_tuple");
                }
                (5, 5) => element.children = thrift.integer()?.try_into().ok()?,
                // ConvertedType: MAP, MAP_KEY_VALUE, LIST.
                (6, 5) => match thrift.integer()? {
                    1 | 2 => element.annotation = Annotation::Map,
                    3 => element.annotation = Annotation::List,
                    _ => {}
                },
                // LogicalType: a union whose first members are STRING, MAP, LIST.
                (10, STRUCT) => thrift.fields(|_, id, _| {
                    match id {
                        2 => element.annotation = Annotation::Map,
                        3 => element.annotation = Annotation::List,
                        _ => {}
                    }
                    Some(false)
                })?,
                _ => return Some(false),
            }
            Some(true)
        })?;
        Some(element)
    }
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Shape {
    pub(super) depth: u32,
    pub(super) columns: u32,
}

/// Depth and columns of rows; nothing if the tree does not fit its nodes.
pub(super) fn shape(elements: &[Element]) -> Option<Shape> {
    let mut left = elements.iter();
    let root = Node::read(&mut left, MOST_DEPTH)?;
    left.as_slice().is_empty().then_some(Shape { depth: root.below + 1, columns: root.children })
}

/// What a parent must know of a node.
#[derive(Clone, Copy, Default)]
struct Node {
    element: Element,
    children: u32,
    /// Depth of the value, were it not repeated.
    depth: u32,
    /// Depth of the deepest child.
    below: u32,
    only_child_repeated: bool,
}

impl Node {
    fn read(left: &mut std::slice::Iter<'_, Element>, depth: u32) -> Option<Self> {
        let depth = depth.checked_sub(1)?;
        let element = *left.next()?;
        let mut node = Self { element, children: element.children, ..Self::default() };
        let mut last = Self::default();
        for _ in 0..element.children {
            last = Self::read(left, depth)?;
            node.below = node.below.max(last.depth + u32::from(last.element.repeated));
        }
        node.only_child_repeated = element.children == 1 && last.element.repeated;
        node.depth = match element.annotation {
            _ if element.children == 0 => 0,
            Annotation::List if node.only_child_repeated => 1 + last.item(),
            Annotation::Map if node.only_child_repeated => 1 + last.below,
            _ => 1 + node.below,
        };
        Some(node)
    }

    /// Depth of a list's items, of which this is the repeated node.
    fn item(&self) -> u32 {
        let wrapper = self.children == 1
            && self.element.annotation == Annotation::None
            && !self.element.tuple
            && !self.only_child_repeated;
        if wrapper { self.below } else { self.depth }
    }
}
