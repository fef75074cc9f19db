// Whom the page shows: a user of the log, or a guest, whose session lives in this tab only.

const KEY = "freshet.person";
const MOST_SESSION = 500; // as the proto allows

function load() {
  try {
    const kept = JSON.parse(sessionStorage.getItem(KEY));
    if (kept && typeof kept.user === "string" && Array.isArray(kept.session) && Array.isArray(kept.unwanted))
      return kept;
  } catch {
    /* nothing usable was kept */
  }
  return { user: "", chosen: false, session: [], unwanted: [] };
}

let person = load();

function keep(change) {
  person = { ...person, ...change };
  try {
    sessionStorage.setItem(KEY, JSON.stringify(person));
  } catch {
    /* it lives as long as the page */
  }
  dispatchEvent(new CustomEvent("freshet:person"));
}

/** {user, chosen, session, unwanted}: user is "" for a guest; session and unwanted are product ids, oldest first. */
export const current = () => person;

export const becomeUser = (user) => keep({ user, chosen: true });
export const becomeGuest = () => keep({ user: "", chosen: true });
export const forgetSession = () => keep({ session: [], unwanted: [] });

/** Note a product that a guest viewed, or one to hide. */
export function remember(product, { unwanted = false } = {}) {
  const list = unwanted ? "unwanted" : "session";
  keep({ [list]: [...person[list].filter((one) => one !== product), product].slice(-MOST_SESSION) });
}

/** The hash of this person's list. */
export const address = () => (person.user ? `#/user/${encodeURIComponent(person.user)}` : "#/guest");
