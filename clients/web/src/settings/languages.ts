/** First languages to choose from, named in English and in themselves. */

// Those of most learners of English, by their BCP 47 tags. Any other tag stays as it is.
const TAGS = [
  "ar", "bn", "cs", "da", "de", "el", "es", "fa", "fi", "fil", "fr", "gu", "he", "hi", "hu", "id",
  "it", "ja", "ko", "mr", "ms", "nb", "nl", "pa", "pl", "pt", "pt-BR", "ro", "ru", "sv", "sw", "ta",
  "te", "th", "tr", "uk", "ur", "vi", "zh-CN", "zh-TW",
]; // prettier-ignore

/** A language to choose. */
export interface Language {
  readonly tag: string;
  readonly words: string;
}

/** The list, by its English names; with `kept` where that is none of them. */
export function languages(kept: string): readonly Language[] {
  const tags = kept && !TAGS.includes(kept) ? [...TAGS, kept] : TAGS;
  return tags
    .map((tag) => ({ tag, words: languageWords(tag) }))
    .sort((a, b) => a.words.localeCompare(b.words, "en"));
}

function languageWords(tag: string): string {
  const english = nameIn("en", tag);
  const own = nameIn(tag, tag);
  return own && own.toLowerCase() !== english.toLowerCase() ? `${english} · ${own}` : english;
}

function nameIn(language: string, tag: string): string {
  try {
    return new Intl.DisplayNames(language, { type: "language" }).of(tag) ?? tag;
  } catch {
    return tag;
  }
}
