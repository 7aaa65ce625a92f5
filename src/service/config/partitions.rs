//! Partitions as the backup service writes them.

/// A list of partitions as the backup service writes it, as the connector does: `0,100-50` are 0 and the fifty from 100 on;
/// a digest in base64 stands for what follows it in its partition.
///
/// # Errors
/// In words.
pub fn partitions(text: &str) -> Result<String, String> {
    let wrong = |part: &str| format!("`{part}` is none of: a partition, FIRST-COUNT, a digest in base64");
    let one = |part: &str| -> Result<String, String> {
        let part = part.trim();
        let number = |text: &str| text.parse::<u16>().ok();
        if let Some(only) = number(part) {
            return if only < 4096 { Ok(only.to_string()) } else { Err(wrong(part)) };
        }
        if let Some((first, count)) = part.split_once('-').and_then(|(a, b)| Some((number(a)?, number(b)?))) {
            let last = u32::from(first) + u32::from(count);
            if count == 0 || last > 4096 {
                return Err(wrong(part));
            }
            return Ok(format!("{first}..={}", last - 1));
        }
        let digest = data_encoding::BASE64.decode(part.as_bytes()).ok().filter(|digest| digest.len() == 20);
        digest.map(|digest| data_encoding::HEXLOWER.encode(&digest)).ok_or_else(|| wrong(part))
    };
    let parts: Vec<String> = text.split(',').map(one).collect::<Result<_, _>>()?;
    Ok(parts.join(","))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn lists_of_partitions_are_first_and_count() {
        assert_eq!(partitions("0, 100-50,4095").unwrap(), "0,100..=149,4095");
        let digest = data_encoding::BASE64.encode(&[0xab; 20]);
        assert_eq!(partitions(&digest).unwrap(), "ab".repeat(20));
        for bad in ["", "4096", "4000-97", "1-0", "x", "1,,2", "-5"] {
            assert!(partitions(bad).is_err(), "{bad}");
        }
    }
}
