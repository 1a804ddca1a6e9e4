/** What the two forms check before they ask the server, in words that say what would be right. */

/** The fields of a form and what is wrong with them. */
export type FieldErrors = Readonly<Partial<Record<"username" | "password", string>>>;

const LEAST_NAME = 3;
const LEAST_PASSWORD = 8;

/** Checks a sign-in: there is something to send. */
export function signInErrors(username: string, password: string): FieldErrors {
  return {
    ...(!username && { username: "Type the name you signed up with." }),
    ...(!password && { password: "Type your password." }),
  };
}

/** Checks a new account by the server's own rules; the server still has the last word. */
export function signUpErrors(username: string, password: string): FieldErrors {
  const name = nameError(username);
  return {
    ...(name && { username: name }),
    ...(Array.from(password).length < LEAST_PASSWORD && {
      password: password
        ? `A little longer: at least ${LEAST_PASSWORD} characters.`
        : `Choose a password of at least ${LEAST_PASSWORD} characters.`,
    }),
  };
}

function nameError(username: string): string {
  const characters = Array.from(username.normalize("NFKC"));
  if (characters.length === 0) return "Choose a name to sign in with.";
  if (characters.length < LEAST_NAME) return `A little longer: at least ${LEAST_NAME} characters.`;
  if (characters.length > (username.includes("@") ? 254 : 64))
    return "That is too long: at most 64 characters, or an email address.";
  if (/\s/.test(username)) return "No spaces, please. Try a dash or a dot instead.";
  if (!/^[\p{L}\p{M}\p{Nd}._\-+@]+$/u.test(characters.join("")))
    return "Letters, digits and . _ - + @ only.";
  if (!/^[\p{L}\p{Nd}]/u.test(username)) return "Begin with a letter or a digit.";
  return "";
}

/** The violations of a refused call, for the fields of the form. */
export function serverErrors({
  username,
  password,
}: Readonly<Record<string, string>>): FieldErrors {
  return {
    ...(username && { username: `It ${username}.` }),
    ...(password && { password: `It ${password}. Choose another.` }),
  };
}

/** Puts the cursor into the first field that is wrong. */
export function focusFirstWrong(form: HTMLFormElement, errors: FieldErrors): void {
  for (const name of ["username", "password"] as const) {
    if (!errors[name]) continue;
    const field = form.elements.namedItem(name);
    if (field instanceof HTMLInputElement) {
      field.focus();
      // What is typed next takes the place of what was wrong.
      if (name === "password") field.select();
    }
    return;
  }
}
