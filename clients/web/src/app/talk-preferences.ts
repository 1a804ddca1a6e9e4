/** How this learner likes to talk, for the pages beside the talk: they import none of each other. */

export { SPEECH_RATES, type TalkPreferences, prefer, usePreferences } from "@/talk/preferences";
